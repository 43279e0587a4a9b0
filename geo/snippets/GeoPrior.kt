// The prior of place and season that `attar geo` fitted: how likely each label is met there and then, and how that joins
// a photo's answer. Plain Kotlin in double precision; nothing here sends the place anywhere.
import kotlin.math.PI
import kotlin.math.cos
import kotlin.math.exp
import kotlin.math.max
import kotlin.math.pow
import kotlin.math.sin

/**
 * @param weights the arrays of model.safetensors, by name
 * @param blocks how many residual blocks they are of
 * @param order the prior's number of each label of the model
 * @param observed whether each label of the model was ever met
 * @param floor no label's factor is less than this to the power of [weight]
 * @param weight how much the prior counts; 0: not at all
 */
class GeoPrior(
    private val weights: Map<String, FloatArray>,
    private val blocks: Int,
    private val order: IntArray,
    private val observed: BooleanArray,
    private val floor: Double,
    private val weight: Double
) {
    /** How likely each label is met at these degrees on that day of the year (1 to 366; 0: not known), in [0, 1]. */
    fun likely(latitude: Double, longitude: Double, day: Int): DoubleArray {
        var known = relu(layer(encoded(latitude, longitude, day), "stem"))
        for (block in 0 until blocks) {
            val more = relu(layer(relu(layer(known, "blocks.$block.first")), "blocks.$block.second"))
            known = DoubleArray(known.size) { known[it] + more[it] }
        }
        val logits = layer(known, "head")
        return DoubleArray(order.size) { 1 / (1 + exp(-logits[order[it]])) }
    }

    /**
     * A photo's probabilities, joined with what place and season say; they sum to 1.
     * A label that was never met keeps its share against the others' mean.
     */
    fun joined(probabilities: FloatArray, latitude: Double, longitude: Double, day: Int): FloatArray {
        if (weight == 0.0) return probabilities
        val factors = likely(latitude, longitude, day).map { max(it, floor).pow(weight) }
        val met = factors.filterIndexed { label, _ -> observed[label] }
        val mean = met.average()
        val weighed = factors.mapIndexed { label, factor ->
            probabilities[label] * (if (observed[label] || met.isEmpty()) factor else mean)
        }
        val sum = weighed.sum()
        return FloatArray(weighed.size) { (weighed[it] / sum).toFloat() }
    }

    /** A point on the globe, one on the year, and whether the day is known. */
    private fun encoded(latitude: Double, longitude: Double, day: Int): DoubleArray {
        val north = latitude * PI / 180
        val east = longitude * PI / 180
        val angle = day * 2 * PI / 365.25
        val dated = if (day > 0) 1.0 else 0.0
        return doubleArrayOf(
            cos(north) * cos(east), cos(north) * sin(east), sin(north), sin(2 * north),
            dated * cos(angle), dated * sin(angle), dated
        )
    }

    /** A linear layer: of each row of weights (outputs x inputs) the sum with its bias. */
    private fun layer(input: DoubleArray, name: String): DoubleArray {
        val rows = weights.getValue("$name.weight")
        val bias = weights.getValue("$name.bias")
        return DoubleArray(bias.size) { row ->
            var sum = bias[row].toDouble()
            for (column in input.indices) sum += rows[row * input.size + column] * input[column]
            sum
        }
    }

    private fun relu(values: DoubleArray) = DoubleArray(values.size) { max(0.0, values[it]) }
}
