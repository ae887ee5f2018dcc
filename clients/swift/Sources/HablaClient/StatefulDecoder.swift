import CoreML

/// Why a token was not decoded.
public enum FailedDecoding: Error {
    case tooManyTokens(most: Int)
    case missingOutput(String)
}

/// Decodes one text about 30 s of audio with a `TextDecoder` of the target `iOS18-stateful`.
///
/// Core ML keeps the caches of keys and values in the `MLState`. A new text needs a new instance, also when the same
/// audio is decoded again at another temperature.
@available(iOS 18, macOS 15, *)
public actor StatefulDecoder {
    private static let mostTokens = 448
    private let model: MLModel
    private let state: MLState
    private let inputs: [String: MLMultiArray]
    private var position = 0

    /// - Parameters:
    ///   - model: The loaded `TextDecoder`.
    ///   - audio: `encoder_output_embeds` of the `AudioEncoder`.
    public init(model: MLModel, audio: MLMultiArray) throws {
        let length = NSNumber(value: Self.mostTokens)
        let update = try MLMultiArray(shape: [1, length], dataType: .float16)
        let padding = try MLMultiArray(shape: [1, length], dataType: .float16)
        for index in 0..<Self.mostTokens {
            update[index] = 0
            padding[index] = -10_000
        }
        self.model = model
        state = model.makeState()
        inputs = [
            "input_ids": try MLMultiArray(shape: [1], dataType: .int32),
            "cache_length": try MLMultiArray(shape: [1], dataType: .int32),
            "kv_cache_update_mask": update,
            "decoder_key_padding_mask": padding,
            "encoder_output_embeds": audio,
        ]
    }

    /// Returns the logits of the next token, [1, 1, vocabulary], as `float16`.
    public func add(token: Int32) throws -> MLMultiArray {
        guard position < Self.mostTokens else { throw FailedDecoding.tooManyTokens(most: Self.mostTokens) }
        inputs["input_ids"]?[0] = NSNumber(value: token)
        inputs["cache_length"]?[0] = NSNumber(value: position)
        inputs["kv_cache_update_mask"]?[position] = 1
        inputs["decoder_key_padding_mask"]?[position] = 0
        let result = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: inputs), using: state)
        inputs["kv_cache_update_mask"]?[position] = 0
        position += 1
        guard let logits = result.featureValue(for: "logits")?.multiArrayValue else {
            throw FailedDecoding.missingOutput("logits")
        }
        return logits
    }
}
