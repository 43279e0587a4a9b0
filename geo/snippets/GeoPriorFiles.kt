// GeoPrior from its files on Android: put prior.json and model.safetensors (from the folder above this one) into
// src/main/assets.
//     val prior = geoPrior(context, classifier.labels)
//     val answer = prior.joined(probabilities, location.latitude, location.longitude, LocalDate.now().dayOfYear)
import android.content.Context
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.json.JSONObject

/** The prior, for a model with these labels. */
fun geoPrior(context: Context, labels: List<String>): GeoPrior {
    val about = JSONObject(context.assets.open("prior.json").bufferedReader().use { it.readText() })
    val names = about.getJSONArray("labels").let { known -> List(known.length()) { known.getString(it) } }
    require(names.toSet() == labels.toSet()) { "the prior has other labels than the model" }
    val counts = about.getJSONArray("counts")
    val how = about.getJSONObject("combination")
    val order = labels.map { names.indexOf(it) }
    return GeoPrior(
        tensorsOf(context.assets.open("model.safetensors").use { it.readBytes() }),
        about.getJSONObject("architecture").getInt("blocks"),
        order.toIntArray(),
        order.map { counts.getLong(it) > 0 }.toBooleanArray(),
        how.getDouble("floor"),
        how.getDouble("weight"),
    )
}

/** The arrays of a safetensors file, by name. */
private fun tensorsOf(bytes: ByteArray): Map<String, FloatArray> {
    val start = 8 + ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).getLong(0).toInt()
    val head = JSONObject(String(bytes, 8, start - 8))
    return head.keys().asSequence().filter { it != "__metadata__" }.associateWith { name ->
        val place = head.getJSONObject(name)
        require(place.getString("dtype") == "F32") { name }
        val (from, to) = place.getJSONArray("data_offsets").let { it.getInt(0) to it.getInt(1) }
        val numbers = ByteBuffer.wrap(bytes, start + from, to - from).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        FloatArray(numbers.remaining()).also { numbers.get(it) }
    }
}
