package org.example.classifier

import android.Manifest
import android.graphics.Bitmap
import android.graphics.Matrix
import android.os.Bundle
import android.view.Gravity
import android.view.View
import android.view.ViewGroup.LayoutParams.MATCH_PARENT
import android.view.ViewGroup.LayoutParams.WRAP_CONTENT
import android.widget.FrameLayout
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.contract.ActivityResultContracts
import androidx.camera.core.CameraSelector
import androidx.camera.core.ImageAnalysis
import androidx.camera.core.ImageProxy
import androidx.camera.core.Preview
import androidx.camera.lifecycle.ProcessCameraProvider
import androidx.camera.view.PreviewView
import androidx.core.content.ContextCompat
import java.util.concurrent.Executors

/** The camera, and below it the likeliest names of what it sees. */
class MainActivity : ComponentActivity() {
    private val worker = Executors.newSingleThreadExecutor()
    private val smoothed = Smoothed()
    private val likeness = Smoothed()
    private lateinit var classifier: Classifier
    private lateinit var preview: PreviewView
    private lateinit var answers: TextView

    private val permission = registerForActivityResult(ActivityResultContracts.RequestPermission()) { granted ->
        if (granted) start() else answers.text = getString(R.string.no_camera)
    }

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        preview = PreviewView(this)
        answers = TextView(this).apply {
            textSize = 20f
            setPadding(48, 48, 48, 48)
            accessibilityLiveRegion = View.ACCESSIBILITY_LIVE_REGION_POLITE
        }
        setContentView(
            FrameLayout(this).apply {
                addView(preview)
                addView(answers, FrameLayout.LayoutParams(MATCH_PARENT, WRAP_CONTENT, Gravity.BOTTOM))
            }
        )
        classifier = Classifier(this)
        permission.launch(Manifest.permission.CAMERA)
    }

    private fun start() {
        val coming = ProcessCameraProvider.getInstance(this)
        coming.addListener({
            val analysis = ImageAnalysis.Builder()
                // A frame that comes while one is computed is skipped.
                .setBackpressureStrategy(ImageAnalysis.STRATEGY_KEEP_ONLY_LATEST)
                .setOutputImageFormat(ImageAnalysis.OUTPUT_IMAGE_FORMAT_RGBA_8888)
                .build()
            analysis.setAnalyzer(worker) { look(it) }
            val shown = Preview.Builder().build()
            shown.surfaceProvider = preview.surfaceProvider
            val cameras = coming.get()
            cameras.unbindAll()
            cameras.bindToLifecycle(this, CameraSelector.DEFAULT_BACK_CAMERA, shown, analysis)
        }, ContextCompat.getMainExecutor(this))
    }

    private fun look(frame: ImageProxy) = frame.use {
        val photo = upright(it.toBitmap(), it.imageInfo.rotationDegrees)
        val (probabilities, familiarity) = classifier.answer(photo)
        val answer = ranked(classifier.labels, smoothed.add(probabilities))
        val known = isKnown(familiarity?.let { each -> likeness.add(floatArrayOf(each))[0] })
        val best = answer.take(3).joinToString("\n") { (label, share) -> "%s  %.1f %%".format(label, 100 * share) }
        runOnUiThread { answers.text = doubt(known, possible(answer)) + best }
    }

    /** What is said above the names, or nothing where the answer is sure. */
    private fun doubt(known: Boolean, names: List<String>) = when {
        !known -> getString(R.string.none_of_them) + "\n"
        names.size > 1 -> getString(R.string.one_of, names.take(5).joinToString(", ")) + "\n"
        else -> ""
    }

    private fun upright(frame: Bitmap, degrees: Int): Bitmap {
        val turn = Matrix().apply { postRotate(degrees.toFloat()) }
        return Bitmap.createBitmap(frame, 0, 0, frame.width, frame.height, turn, false)
    }

    override fun onDestroy() {
        super.onDestroy()
        worker.shutdown()
        worker.awaitTermination(1, java.util.concurrent.TimeUnit.SECONDS)
        classifier.close()
    }
}
