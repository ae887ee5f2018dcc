import Foundation
import SwiftData

/// What is refused for this waits: the next upload after the consent sends it.
private let noConsent = "/problems/no-consent"

/// Uploads recordings while the app is in the background. The system continues the transfers after the app is closed.
///
/// Make one instance at each start of the app, with the same identifier, so that finished transfers are delivered.
@MainActor
public final class BackgroundUploader: NSObject {
    private let connection: ServiceConnection
    private let context: ModelContext
    private let folder: URL
    private var answers: [Int: Data] = [:]
    private lazy var session: URLSession = {
        let configuration = URLSessionConfiguration.background(withIdentifier: "habla.uploads")
        configuration.sessionSendsLaunchEvents = true
        configuration.isDiscretionary = false
        return URLSession(configuration: configuration, delegate: self, delegateQueue: .main)
    }()

    public init(connection: ServiceConnection, context: ModelContext, folder: URL) {
        self.connection = connection
        self.context = context
        self.folder = folder
        super.init()
        _ = session
    }

    /// Start the transfer of each waiting recording that is not in transfer, then send the corrections that can be sent.
    public func upload() async throws {
        let running = Set(await session.allTasks.compactMap(\.taskDescription))
        let waiting = try context.fetch(
            FetchDescriptor<RecordingItem>(predicate: #Predicate { !$0.uploaded && $0.refusal == nil }))
        for item in waiting where !running.contains(item.id) {
            let file = folder.appending(path: item.fileName)
            let task = session.uploadTask(with: try connection.makeUploadRequest(for: item, file: file), fromFile: file)
            task.taskDescription = item.id
            task.resume()
        }
        try await sendDataPoints()
    }

    private func sendDataPoints() async throws {
        let sent = Set(try context.fetch(FetchDescriptor<RecordingItem>(predicate: #Predicate { $0.uploaded })).map(\.id))
        let waiting = try context.fetch(
            FetchDescriptor<FineTuningDataPoint>(predicate: #Predicate { !$0.uploaded && $0.refusal == nil }))
        let ready = waiting.filter { sent.contains($0.recordingItemID) }
        for start in stride(from: 0, to: ready.count, by: 100) {
            let part = Array(ready[start..<min(start + 100, ready.count)])
            for result in try await connection.send(part.map(\.wire)).results {
                if result.isKept {
                    part[result.index].uploaded = true
                } else if !result.retryable, result.type != noConsent {
                    part[result.index].refusal = result.type
                }
            }
            try context.save()
        }
    }

    private func finish(_ id: String, status: Int, answer: Data) throws {
        guard let item = try context.fetch(
            FetchDescriptor<RecordingItem>(predicate: #Predicate { $0.id == id })).first
        else { return }
        if status == 200 || status == 201 {
            // The state is saved before the file is deleted: a crash between leaves a file, and never loses one.
            item.uploaded = true
            try context.save()
            try? FileManager.default.removeItem(at: folder.appending(path: item.fileName))
        } else if status != 401, let problem = try? JSONDecoder().decode(Problem.self, from: answer), !problem.retryable,
            problem.type != noConsent
        {
            item.refusal = problem.type
            try context.save()
        }
    }
}

extension BackgroundUploader: URLSessionDataDelegate {
    nonisolated public func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
        MainActor.assumeIsolated { answers[dataTask.taskIdentifier, default: Data()].append(data) }
    }

    nonisolated public func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: Error?) {
        MainActor.assumeIsolated {
            let answer = answers.removeValue(forKey: task.taskIdentifier) ?? Data()
            guard error == nil, let id = task.taskDescription, let http = task.response as? HTTPURLResponse else { return }
            try? finish(id, status: http.statusCode, answer: answer)
        }
    }
}
