import Foundation

// The documents of the API. `clients/fixtures/` has an example of each, and a test of the project compares the keys.

/// A correction as it is sent.
public struct DataPoint: Codable, Sendable, Equatable {
    public let id: String
    public let recordingItemID: String
    public let correctedTranscription: String
    public let timestamp: String
    public let status: String
    public let reason: String
    public let language: String
    public let appVersion: String
    public let modelVersion: String
    public let seenText: String?
}

/// Up to 500 corrections.
public struct Batch: Codable, Sendable {
    public let items: [DataPoint]
}

/// What became of one correction.
public struct ItemResult: Codable, Sendable {
    public let index: Int
    public let id: String?
    public let status: String
    public let type: String?
    public let detail: String?
    public let retryable: Bool

    /// Whether the service keeps the correction durably.
    public var isKept: Bool { status == "accepted" || status == "duplicate" }
}

/// The results of a batch, in the order of its items.
public struct BatchResult: Codable, Sendable {
    public let results: [ItemResult]
}

/// The acknowledgement of a clip: the device may delete its copy.
public struct ClipReceipt: Codable, Sendable {
    public let id: String
    public let status: String
}

/// The code that a person typed.
public struct EnrolmentRequest: Codable, Sendable {
    public let code: String
}

/// The new device. The token is not shown again; keep it in the Keychain.
public struct Enrolment: Codable, Sendable {
    public let deviceID: String
    public let label: String
    public let token: String
    public let expiresAt: String
}

/// A text to show before a person consents; `text` is Markdown, `digest` its sha256 in hex.
public struct ConsentDocument: Codable, Sendable {
    public let document: String
    public let version: Int
    public let language: String
    public let title: String
    public let text: String
    public let digest: String
}

/// The newest version of each text, in all its languages.
public struct ConsentDocuments: Codable, Sendable {
    public let documents: [ConsentDocument]
}

/// A consent as it is sent. A minor's consent stands only if a guardian consented too.
public struct ConsentRequest: Codable, Sendable {
    public let id: String
    public let contributor: String
    public let document: String
    public let documentVersion: Int
    public let documentDigest: String
    public let minor: Bool
    public let guardian: Bool
    public let givenAt: String
}

/// What became of a consent. While `stands` is true, the service accepts clips of the contributor.
public struct Consent: Codable, Sendable {
    public let id: String
    public let contributor: String
    public let document: String
    public let documentVersion: Int
    public let minor: Bool
    public let guardian: Bool
    public let givenAt: String
    public let withdrawnAt: String?
    public let erasedAt: String?
    public let stands: Bool
}

/// What the service holds of a contributor, and the model versions that used it.
public struct HeldData: Codable, Sendable {
    public let contributor: String
    public let stands: Bool
    public let clips: Int
    public let bytes: Int
    public let corrections: Int
    public let segments: Int
    public let erasedSegments: Int
    public let trainedVersions: [String]
    public let testedVersions: [String]
}

/// The model that a channel offers.
public struct LatestModel: Codable, Sendable {
    public let platform: String
    public let channel: String
    public let sequence: Int
    public let version: String
    public let number: Int
    public let modelVersion: String
    public let url: String
    public let sha256: String
    public let sizeBytes: Int
    public let format: String
    public let minimumOSVersion: String?
    public let minimumAppVersion: String?
    public let rolloutPercent: Int
    public let critical: Bool
    public let move: String
    public let expiresAt: String
    public let signed: SignedText?
}

/// An error of the API (RFC 9457).
public struct Problem: Codable, Sendable {
    public let type: String
    public let title: String
    public let status: Int
    public let detail: String
    public let retryable: Bool
}
