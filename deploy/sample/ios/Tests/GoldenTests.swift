import CoreML
import ImageIO
import XCTest

@testable import Classifier

/// On this device the model answers golden photos as the file did where it was verified.
final class GoldenTests: XCTestCase {
    private struct Golden: Decodable {
        struct Image: Decodable { let file: String }
        struct Answers: Decodable { let probabilities: [[Double]] }
        let labels: [String]
        let images: [Image]
        let files: [String: Answers]
    }

    func testAnswersAreThoseOfTheVerifiedFile() throws {
        let folder = Bundle(for: Self.self).url(forResource: "golden", withExtension: nil)!
        let golden = try JSONDecoder().decode(Golden.self, from: Data(contentsOf: folder.appendingPathComponent("golden.json")))
        let classifier = try CoreMLClassifier()
        let size = CoreMLClassifier.size
        for (image, row) in zip(golden.images, golden.files["<<MODEL>>"]!.probabilities) {
            let source = CGImageSourceCreateWithURL(folder.appendingPathComponent(image.file) as CFURL, nil)!
            let square = try MLFeatureValue(
                cgImage: CGImageSourceCreateImageAtIndex(source, 0, nil)!, pixelsWide: size, pixelsHigh: size,
                pixelFormatType: kCVPixelFormatType_32BGRA, options: nil)
            let answer = try classifier.model.prediction(
                from: MLDictionaryFeatureProvider(dictionary: ["<<INPUT>>": square]))
            let name = classifier.model.modelDescription.predictedProbabilitiesName!
            for (label, share) in answer.featureValue(for: name)!.dictionaryValue {
                let expected = row[golden.labels.firstIndex(of: label as! String)!]
                XCTAssertEqual(share.doubleValue, expected, accuracy: 0.02, "\(image.file), \(label)")
            }
        }
    }
}
