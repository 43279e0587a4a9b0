package org.example.classifier

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Test
import org.junit.runner.RunWith

/** On this device the file answers golden photos as it did where it was verified. */
@RunWith(AndroidJUnit4::class)
class GoldenTest {
    private val golden = InstrumentationRegistry.getInstrumentation().context.assets

    @Test
    fun answersAreThoseOfTheVerifiedFile() {
        val told = JSONObject(golden.open("golden/golden.json").bufferedReader().readText())
        val rows = told.getJSONObject("files").getJSONObject("<<MODEL>>").getJSONArray("probabilities")
        Classifier(InstrumentationRegistry.getInstrumentation().targetContext).use { classifier ->
            for (number in 0 until rows.length()) {
                val name = told.getJSONArray("images").getJSONObject(number).getString("file")
                val photo = BitmapFactory.decodeStream(golden.open("golden/$name"))
                val row = rows.getJSONArray(number)
                classifier.ofSquare(bytesOf(photo)).probabilities.forEachIndexed { label, share ->
                    assertEquals("$name, label $label", row.getDouble(label), share.toDouble(), 0.02)
                }
            }
        }
    }

    /** RGB bytes of a photo that is the model's square already. */
    private fun bytesOf(photo: Bitmap): ByteArray {
        val pixels = IntArray(photo.width * photo.height)
        photo.getPixels(pixels, 0, photo.width, 0, 0, photo.width, photo.height)
        return ByteArray(3 * pixels.size) { (pixels[it / 3] shr (16 - 8 * (it % 3))).toByte() }
    }
}
