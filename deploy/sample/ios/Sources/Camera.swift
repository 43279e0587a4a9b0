import AVFoundation
import CoreImage
import SwiftUI

/// The camera's frames, and the likeliest names of what they show.
final class Camera: NSObject, ObservableObject, AVCaptureVideoDataOutputSampleBufferDelegate {
    @Published var text = ""
    let session = AVCaptureSession()
    private let queue = DispatchQueue(label: "camera")
    private let context = CIContext(options: [.workingColorSpace: CGColorSpace(name: CGColorSpace.sRGB)!])
    private var classifier: CoreMLClassifier?
    private var smoothed: [String: Double] = [:]
    private var likeness: Double?

    @MainActor
    func start() async {
        guard await AVCaptureDevice.requestAccess(for: .video) else {
            text = "Allow the camera in Settings to see names."
            return
        }
        do {
            classifier = try CoreMLClassifier()
            try open()
        } catch {
            text = error.localizedDescription
        }
    }

    private func open() throws {
        guard let device = AVCaptureDevice.default(.builtInWideAngleCamera, for: .video, position: .back) else {
            text = "This device has no camera."
            return
        }
        session.sessionPreset = .hd1280x720
        session.addInput(try AVCaptureDeviceInput(device: device))
        let output = AVCaptureVideoDataOutput()
        output.alwaysDiscardsLateVideoFrames = true  // a frame that comes while one is computed is skipped
        output.setSampleBufferDelegate(self, queue: queue)
        session.addOutput(output)
        queue.async { self.session.startRunning() }
    }

    func captureOutput(_ output: AVCaptureOutput, didOutput frame: CMSampleBuffer, from connection: AVCaptureConnection) {
        guard let buffer = CMSampleBufferGetImageBuffer(frame), let classifier else { return }
        let upright = CIImage(cvPixelBuffer: buffer).oriented(.right)  // a phone that is held upright
        guard let photo = context.createCGImage(upright, from: upright.extent),
            let (answers, familiarity) = try? classifier.answer(photo)
        else { return }
        likeness = familiarity.map { 0.7 * (likeness ?? $0) + 0.3 * $0 }
        for (label, share) in answers { smoothed[label] = 0.7 * (smoothed[label] ?? share) + 0.3 * share }
        let answer = smoothed.sorted { $0.value > $1.value }.map { (label: $0.key, probability: $0.value) }
        let known = CoreMLClassifier.isKnown(likeness)
        let best = answer.prefix(3).map { "\($0.label)  \(String(format: "%.1f", 100 * $0.probability)) %" }
        let lines = doubt(known, CoreMLClassifier.possible(answer)) + best
        DispatchQueue.main.async { self.text = lines.joined(separator: "\n") }
    }

    /// What is said above the names, or nothing where the answer is sure.
    private func doubt(_ known: Bool, _ names: [String]) -> [String] {
        if !known { return ["Perhaps none of these: it is unlike the photos that the model was made from."] }
        return names.count > 1 ? ["Not sure. One of these: \(names.prefix(5).joined(separator: ", "))"] : []
    }
}

/// What the camera sees.
struct CameraPreview: UIViewRepresentable {
    let session: AVCaptureSession

    final class Layered: UIView {
        override class var layerClass: AnyClass { AVCaptureVideoPreviewLayer.self }
    }

    func makeUIView(context: Context) -> Layered {
        let view = Layered()
        let layer = view.layer as! AVCaptureVideoPreviewLayer
        layer.session = session
        layer.videoGravity = .resizeAspectFill
        return view
    }

    func updateUIView(_ view: Layered, context: Context) {}
}
