// The prior of place and season that `attar geo` fitted: how likely each label is met there and then, and how that joins
// a photo's answer. Plain Swift in double precision; nothing here sends the place anywhere.
// Add prior.json and model.safetensors (from the folder above this one) to the Xcode project.
//     let prior = try GeoPrior(labels: labels)  // of the model, in its order
//     let day = Calendar.current.ordinality(of: .day, in: .year, for: Date())!
//     let answer = prior.joined(probabilities, latitude: place.latitude, longitude: place.longitude, day: day)
import Foundation

struct GeoPrior {
    /// What is read of prior.json.
    private struct About: Decodable {
        struct Architecture: Decodable { let blocks: Int }
        struct Combination: Decodable { let floor, weight: Double }
        let architecture: Architecture
        let combination: Combination
        let labels: [String]
        let counts: [Int]
    }

    /// An array of a safetensors file.
    private struct Tensor: Decodable {
        let dtype: String
        let data_offsets: [Int]
    }

    enum Wrong: Error { case otherLabels, otherNumbers(String) }

    private let weights: [String: [Double]]
    private let blocks: Int
    private let order: [Int]
    private let observed: [Bool]
    private let floor, weight: Double

    init(labels: [String], from bundle: Bundle = .main) throws {
        let about = try JSONDecoder().decode(
            About.self, from: Data(contentsOf: bundle.url(forResource: "prior", withExtension: "json")!))
        guard Set(about.labels) == Set(labels) else { throw Wrong.otherLabels }
        order = labels.map { about.labels.firstIndex(of: $0)! }
        observed = order.map { about.counts[$0] > 0 }
        (blocks, floor, weight) = (about.architecture.blocks, about.combination.floor, about.combination.weight)
        weights = try Self.tensors(
            of: Data(contentsOf: bundle.url(forResource: "model", withExtension: "safetensors")!))
    }

    /// How likely each label is met at these degrees on that day of the year (1 to 366; 0: not known), in 0...1.
    func likely(latitude: Double, longitude: Double, day: Int) -> [Double] {
        var known = relu(layer(encoded(latitude, longitude, day), "stem"))
        for block in 0..<blocks {
            let more = relu(layer(relu(layer(known, "blocks.\(block).first")), "blocks.\(block).second"))
            known = zip(known, more).map { $0 + $1 }
        }
        let logits = layer(known, "head")
        return order.map { 1 / (1 + exp(-logits[$0])) }
    }

    /// A photo's probabilities, joined with what place and season say; they sum to 1.
    /// A label that was never met keeps its share against the others' mean.
    func joined(_ probabilities: [Double], latitude: Double, longitude: Double, day: Int) -> [Double] {
        if weight == 0 { return probabilities }
        let factors = likely(latitude: latitude, longitude: longitude, day: day).map { pow(max($0, floor), weight) }
        let met = zip(factors, observed).filter { $0.1 }.map { $0.0 }
        let mean = met.reduce(0, +) / Double(max(met.count, 1))
        let weighed = factors.indices.map {
            probabilities[$0] * (observed[$0] || met.isEmpty ? factors[$0] : mean)
        }
        let sum = weighed.reduce(0, +)
        return weighed.map { $0 / sum }
    }

    /// A point on the globe, one on the year, and whether the day is known.
    private func encoded(_ latitude: Double, _ longitude: Double, _ day: Int) -> [Double] {
        let (north, east) = (latitude * .pi / 180, longitude * .pi / 180)
        let (angle, dated) = (Double(day) * 2 * .pi / 365.25, day > 0 ? 1.0 : 0.0)
        return [
            cos(north) * cos(east), cos(north) * sin(east), sin(north), sin(2 * north),
            dated * cos(angle), dated * sin(angle), dated,
        ]
    }

    /// A linear layer: of each row of weights (outputs x inputs) the sum with its bias.
    private func layer(_ input: [Double], _ name: String) -> [Double] {
        let (rows, bias) = (weights["\(name).weight"]!, weights["\(name).bias"]!)
        return bias.indices.map { row in
            input.indices.reduce(bias[row]) { $0 + rows[row * input.count + $1] * input[$1] }
        }
    }

    private func relu(_ values: [Double]) -> [Double] { values.map { max(0, $0) } }

    /// The arrays of a safetensors file, by name.
    private static func tensors(of data: Data) throws -> [String: [Double]] {
        let start = 8 + Int(data.prefix(8).enumerated().reduce(UInt64(0)) { $0 | UInt64($1.element) << (8 * $1.offset) })
        var head = try JSONSerialization.jsonObject(with: data[8..<start]) as! [String: Any]
        head["__metadata__"] = nil
        let listed = try JSONDecoder().decode(
            [String: Tensor].self, from: JSONSerialization.data(withJSONObject: head))
        return try listed.reduce(into: [:]) { arrays, each in
            guard each.value.dtype == "F32" else { throw Wrong.otherNumbers(each.key) }
            let (from, to) = (start + each.value.data_offsets[0], start + each.value.data_offsets[1])
            arrays[each.key] = stride(from: from, to: to, by: 4).map { at in
                let bits = (0..<4).reduce(UInt32(0)) { $0 | UInt32(data[at + $1]) << (8 * UInt32($1)) }
                return Double(Float(bitPattern: bits))
            }
        }
    }
}
