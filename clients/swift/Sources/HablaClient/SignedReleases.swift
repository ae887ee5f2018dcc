import CryptoKit
import Foundation

/// The signature of a text by one key.
public struct Signature: Codable, Sendable {
    public let key: String
    public let value: String
}

/// A text with its signatures. Whoever verified a signature reads `text` and nothing beside it.
public struct SignedText: Codable, Sendable {
    public let text: String
    public let signatures: [Signature]
}

/// Why nothing is installed.
public enum UntrustedRelease: Error {
    case notSigned
    case damaged
    case oldState(sequence: Int, seen: Int)
    case expired(Date)
    case otherChannel(String)
    case brokenChainOfKeys(version: Int)
}

/// The keys that a device trusts. An app carries the first document; `follow` leads to the newest.
public struct TrustedKeys: Decodable, Sendable {
    public static let kind = "habla_ml.keys/1"
    public let version: Int
    public let created: Date
    public let expires: Date
    public let rootKeys: [String: String]
    public let releaseKeys: [String: String]
}

/// The archive for one platform.
public struct StatedArchive: Decodable, Sendable {
    public let format: String
    public let url: String
    public let sha256: String
    public let sizeBytes: Int
    public let minimumOsVersion: String?
}

/// The state of a channel: the signed text of `latest.json`.
public struct ChannelStatement: Decodable, Sendable {
    public static let kind = "habla_ml.channel/2"
    public let format: String
    public let channel: String
    public let sequence: Int
    public let signedAt: Date
    public let expiresAt: Date
    public let version: String
    public let number: Int
    public let minimumAppVersion: String?
    public let rolloutPercent: Int
    public let critical: Bool
    public let models: [String: StatedArchive]
    public let manifestUrl: String
    public let manifestSha256: String
}

/// Decoder of the signed texts: `snake_case` names, ISO 8601 times.
public func makeStatementDecoder() -> JSONDecoder {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    decoder.dateDecodingStrategy = .iso8601
    return decoder
}

extension SignedText {
    /// Return whether one of these keys (base64 by id) signed the text as a text of this kind.
    public func isSigned(by keys: [String: String], kind: String) -> Bool {
        let data = Data("\(kind)\n\(text)".utf8)
        return signatures.contains { signature in
            guard let encoded = keys[signature.key], let raw = Data(base64Encoded: encoded),
                let value = Data(base64Encoded: signature.value),
                let key = try? Curve25519.Signing.PublicKey(rawRepresentation: raw)
            else { return false }
            return key.isValidSignature(value, for: data)
        }
    }
}

/// Return the keys of a document that one of its own root keys signed.
public func readKeys(_ data: Data) throws -> (SignedText, TrustedKeys) {
    let signed = try JSONDecoder().decode(SignedText.self, from: data)
    let keys = try makeStatementDecoder().decode(TrustedKeys.self, from: Data(signed.text.utf8))
    guard signed.isSigned(by: keys.rootKeys, kind: TrustedKeys.kind) else { throw UntrustedRelease.damaged }
    return (signed, keys)
}

/// Follow the documents `keys/000002.json`, … from the trusted one to the newest; `fetch` returns nil for a missing one.
public func followKeys(_ trusted: Data, now: Date, fetch: (Int) async throws -> Data?) async throws -> Data {
    var data = trusted
    var (_, keys) = try readKeys(data)
    while let next = try await fetch(keys.version + 1) {
        let (signed, following) = try readKeys(next)
        guard following.version == keys.version + 1, signed.isSigned(by: keys.rootKeys, kind: TrustedKeys.kind) else {
            throw UntrustedRelease.brokenChainOfKeys(version: keys.version + 1)
        }
        (data, keys) = (next, following)
    }
    guard now < keys.expires else { throw UntrustedRelease.expired(keys.expires) }
    return data
}

/// Return the state of a channel if it is signed, of this channel, not expired, and not older than what was seen.
///
/// Pass as `now` the later of the device's clock and the latest `signedAt` that the device has seen.
public func readStatement(
    _ latest: Data, keys: TrustedKeys, channel: String, now: Date, oldestSequence: Int
) throws -> ChannelStatement {
    struct Pointer: Decodable { let signed: SignedText? }
    guard let signed = try JSONDecoder().decode(Pointer.self, from: latest).signed,
        signed.isSigned(by: keys.releaseKeys, kind: ChannelStatement.kind)
    else { throw UntrustedRelease.notSigned }
    let found = try makeStatementDecoder().decode(ChannelStatement.self, from: Data(signed.text.utf8))
    guard found.channel == channel, found.format == ChannelStatement.kind else {
        throw UntrustedRelease.otherChannel(found.channel)
    }
    guard found.sequence >= oldestSequence else {
        throw UntrustedRelease.oldState(sequence: found.sequence, seen: oldestSequence)
    }
    guard now < found.expiresAt else { throw UntrustedRelease.expired(found.expiresAt) }
    return found
}
