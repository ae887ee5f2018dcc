import Foundation
import SwiftData

/// A recording that waits for the service, or that the service has.
@Model
public final class RecordingItem {
    @Attribute(.unique) public var id: String
    /// Name of the audio file in the folder of the recordings.
    public var fileName: String
    public var session: String
    /// A pseudonym; never a name.
    public var contributor: String?
    public var recordedAt: Date
    public var uploaded: Bool
    /// Type of the problem for which the service refused it.
    public var refusal: String?

    public init(id: UUID = UUID(), fileName: String, session: String, contributor: String?, recordedAt: Date) {
        self.id = id.uuidString.lowercased()
        self.fileName = fileName
        self.session = session
        self.contributor = contributor
        self.recordedAt = recordedAt
        self.uploaded = false
        self.refusal = nil
    }
}

/// A correction that waits for the service, or that the service has.
@Model
public final class FineTuningDataPoint {
    @Attribute(.unique) public var id: String
    public var recordingItemID: String
    public var correctedTranscription: String
    public var timestamp: Date
    public var status: String
    public var reason: String
    public var language: String
    public var appVersion: String
    public var modelVersion: String
    public var seenText: String?
    public var uploaded: Bool
    /// Type of the problem for which the service refused it.
    public var refusal: String?

    public init(
        recordingItemID: String, correctedTranscription: String, status: String = "corrected", reason: String = "",
        language: String = "es", appVersion: String, modelVersion: String, seenText: String?
    ) {
        self.id = UUID().uuidString.lowercased()
        self.recordingItemID = recordingItemID
        self.correctedTranscription = correctedTranscription
        self.timestamp = Date()
        self.status = status
        self.reason = reason
        self.language = language
        self.appVersion = appVersion
        self.modelVersion = modelVersion
        self.seenText = seenText
        self.uploaded = false
        self.refusal = nil
    }

    /// The correction as it is sent.
    public var wire: DataPoint {
        DataPoint(
            id: id, recordingItemID: recordingItemID, correctedTranscription: correctedTranscription,
            timestamp: timestamp.formatted(.iso8601), status: status, reason: reason, language: language,
            appVersion: appVersion, modelVersion: modelVersion, seenText: seenText)
    }
}
