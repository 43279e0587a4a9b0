package org.example.classifier

import android.content.Context
import android.graphics.Bitmap
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import org.json.JSONArray

/** Probabilities of the labels; how much the photo is like those that the model was made from, in [0, 1], null: not known. */
data class Answer(val probabilities: FloatArray, val familiarity: Float?)

/** <<MODEL>>: a photo in, an answer out. */
class Classifier(context: Context, accelerator: Accelerator = Accelerator.CPU) : AutoCloseable {
    private val model = CompiledModel.create(context.assets, "<<MODEL>>", CompiledModel.Options(accelerator))
    private val inputs = model.createInputBuffers()
    private val outputs = model.createOutputBuffers()
    val labels: List<String> = JSONArray(context.assets.open("labels.json").bufferedReader().readText())
        .let { names -> List(names.length()) { names.getString(it) } }

    /** Of an upright photo in sRGB. */
    fun answer(photo: Bitmap): Answer = ofSquare(
        squareOf(photo.width, photo.height) { y, row -> photo.getPixels(row, 0, photo.width, 0, y, photo.width, 1) }
    )

    /** Of the model's own square, RGB bytes. */
    fun ofSquare(square: ByteArray): Answer {
        inputs[0].writeInt8(square) // the file's input "<<INPUT>>" is of unsigned bytes: the same bits
        model.run(inputs, outputs)
        val familiarity = if (knownFrom == null) null else outputs[1].readFloat()[0]
        return Answer(outputs[0].readFloat(), familiarity) // the first is "<<OUTPUT>>"
    }

    override fun close() {
        (inputs + outputs).forEach { it.close() }
        model.close()
    }
}
