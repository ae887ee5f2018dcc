import Foundation
import SwiftData

/// A consent that was given on this device. It is saved before it is sent, so that a withdrawal knows its id.
@Model
public final class ConsentRecord {
    @Attribute(.unique) public var id: String
    /// A pseudonym; never a name. Use one spelling of it in the app.
    public var contributor: String
    public var document: String
    public var documentVersion: Int
    public var documentDigest: String
    public var minor: Bool
    public var guardian: Bool
    public var givenAt: Date
    /// Whether the service has acknowledged it.
    public var uploaded: Bool
    /// Type of the problem for which the service refused it.
    public var refusal: String?
    /// Whether the contributor withdrew.
    public var withdrawn: Bool
    /// Whether the service has acknowledged the withdrawal.
    public var withdrawalSent: Bool

    public init(contributor: String, text: ConsentDocument, minor: Bool, guardian: Bool) {
        self.id = UUID().uuidString.lowercased()
        self.contributor = contributor
        self.document = text.document
        self.documentVersion = text.version
        self.documentDigest = text.digest
        self.minor = minor
        self.guardian = guardian
        self.givenAt = Date()
        self.uploaded = false
        self.refusal = nil
        self.withdrawn = false
        self.withdrawalSent = false
    }

    /// The consent as it is sent; a repeat is the same.
    public var wire: ConsentRequest {
        ConsentRequest(
            id: id, contributor: contributor, document: document, documentVersion: documentVersion,
            documentDigest: documentDigest, minor: minor, guardian: guardian, givenAt: givenAt.formatted(.iso8601))
    }
}

/// Records consents and withdrawals on the device, and sends them.
@MainActor
public struct ConsentKeeper {
    private let connection: ServiceConnection
    private let context: ModelContext
    private let folder: URL

    /// `folder` has the audio files of the recordings.
    public init(connection: ServiceConnection, context: ModelContext, folder: URL) {
        self.connection = connection
        self.context = context
        self.folder = folder
    }

    /// Delete all that the device has of a contributor, at once and without a network. `send` sends the withdrawal.
    ///
    /// Cancel the contributor's transfers that are running first.
    public func withdraw(_ contributor: String) throws {
        let consents = try context.fetch(
            FetchDescriptor<ConsentRecord>(predicate: #Predicate { $0.contributor == contributor && !$0.withdrawn }))
        for consent in consents { consent.withdrawn = true }
        let items = try context.fetch(
            FetchDescriptor<RecordingItem>(predicate: #Predicate { $0.contributor == contributor }))
        for item in items {
            let id = item.id
            try context.delete(model: FineTuningDataPoint.self, where: #Predicate { $0.recordingItemID == id })
            try? FileManager.default.removeItem(at: folder.appending(path: item.fileName))
            context.delete(item)
        }
        try context.save()
    }

    /// Send the withdrawals and consents that wait. Call it before the uploads.
    public func send() async throws {
        let withdrawn = try context.fetch(
            FetchDescriptor<ConsentRecord>(predicate: #Predicate { $0.withdrawn && !$0.withdrawalSent }))
        for consent in withdrawn {
            do {
                _ = try await connection.withdrawConsent(id: consent.id)
            } catch ServiceError.problem(let problem, _) where problem.type == "/problems/not-found" {
                // It was never sent, or an earlier enrolment of this device sent it: a person withdraws it on the page.
            }
            consent.withdrawalSent = true
            try context.save()
        }
        let waiting = try context.fetch(
            FetchDescriptor<ConsentRecord>(
                predicate: #Predicate { !$0.uploaded && !$0.withdrawn && $0.refusal == nil }))
        for consent in waiting {
            do {
                let answer = try await connection.record(consent.wire)
                consent.uploaded = true
                if answer.withdrawnAt != nil { try withdraw(consent.contributor) }
            } catch ServiceError.problem(let problem, _) where problem.status == 409 && problem.retryable {
                continue  // the erasure of an earlier withdrawal is not done, or the clock is ahead
            } catch ServiceError.problem(let problem, _) where problem.status != 401 && !problem.retryable {
                consent.refusal = problem.type
            }
            try context.save()
        }
    }
}
