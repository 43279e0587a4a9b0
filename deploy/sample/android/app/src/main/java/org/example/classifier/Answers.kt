package org.example.classifier

/** Labels with their probabilities, the most probable first. */
fun ranked(labels: List<String>, probabilities: FloatArray): List<Pair<String, Float>> =
    labels.zip(probabilities.toList()).sortedByDescending { it.second }

<<THRESHOLDS_KT>>

/** Probabilities smoothed over the frames of a camera, so that names do not flicker. */
class Smoothed(private val kept: Float = 0.7f) {
    private var known: FloatArray? = null

    fun add(answer: FloatArray): FloatArray {
        val before = known
        val now = if (before == null) answer.copyOf() else FloatArray(answer.size) { kept * before[it] + (1 - kept) * answer[it] }
        known = now
        return now
    }
}
