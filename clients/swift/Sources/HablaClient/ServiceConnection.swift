import CryptoKit
import Foundation

/// An answer that is not a success.
public enum ServiceError: Error {
    /// The service answered with a problem; `retryAfter` is in seconds.
    case problem(Problem, retryAfter: TimeInterval?)
    /// The answer is of something else, such as a captive portal.
    case unexpectedAnswer(status: Int)
}

/// The requests of the API. Each one can be repeated without harm.
public struct ServiceConnection: Sendable {
    public let address: URL
    public var token: String?
    private let session: URLSession

    public init(address: URL, token: String?, session: URLSession = .shared) {
        self.address = address
        self.token = token
        self.session = session
    }

    /// Exchange a code for the device's token. `key` has 256 random bits and is kept, in the Keychain, until the answer came:
    /// a code is valid once, but a repeat with the same key returns the same token. With its expired token in `token`, the device
    /// stays the same one, and that token is valid again.
    public func enrol(code: String, key: String) async throws -> Enrolment {
        try await send("POST", "v1/devices", body: EnrolmentRequest(code: code), headers: ["Idempotency-Key": key])
    }

    /// Send corrections of clips that the service has acknowledged.
    public func send(_ items: [DataPoint]) async throws -> BatchResult {
        try await send("POST", "v1/batches", body: Batch(items: items))
    }

    /// Return the texts to show before a person consents, in all their languages.
    public func listConsentDocuments() async throws -> [ConsentDocument] {
        let found: ConsentDocuments = try await send("GET", "v1/consent-documents")
        return found.documents
    }

    /// Record a consent; a repeat returns its present state.
    public func record(_ consent: ConsentRequest) async throws -> Consent {
        try await send("POST", "v1/consents", body: consent)
    }

    /// Withdraw all consents of the contributor, and start the erasure; a repeat returns the present state.
    public func withdrawConsent(id: String) async throws -> Consent {
        try await send("DELETE", "v1/consents/\(id)")
    }

    /// Return what the service holds of a contributor whose consent this device recorded.
    public func readContributor(_ contributor: String) async throws -> HeldData {
        try await send("GET", "v1/contributors/\(contributor)")
    }

    /// Return the model to install; nil if the app has it, or is too old for it.
    public func findUpdate(appVersion: String, current: String?, channel: String = "stable") async throws -> LatestModel? {
        var parts = URLComponents(url: address.appending(path: "latest-model-info"), resolvingAgainstBaseURL: false)!
        parts.queryItems = [
            URLQueryItem(name: "platform", value: "ios"), URLQueryItem(name: "channel", value: channel),
            URLQueryItem(name: "app_version", value: appVersion),
        ]
        if let current { parts.queryItems?.append(URLQueryItem(name: "current", value: current)) }
        let (data, answer) = try await session.data(for: URLRequest(url: parts.url!))
        if (answer as? HTTPURLResponse)?.statusCode == 204 { return nil }
        return try Self.parse(data, answer)
    }

    /// Return the request that uploads a clip; its body is the file.
    public func makeUploadRequest(for item: RecordingItem, file: URL) throws -> URLRequest {
        let digest = Data(SHA256.hash(data: try Data(contentsOf: file, options: .mappedIfSafe)))
        var request = URLRequest(url: address.appending(path: "v1/clips/\(item.id)"))
        request.httpMethod = "PUT"
        authorise(&request)
        request.setValue("sha-256=:\(digest.base64EncodedString()):", forHTTPHeaderField: "Content-Digest")
        request.setValue(item.session, forHTTPHeaderField: "Habla-Session")
        request.setValue(item.recordedAt.formatted(.iso8601), forHTTPHeaderField: "Habla-Recorded-At")
        if let contributor = item.contributor {
            request.setValue(contributor, forHTTPHeaderField: "Habla-Contributor")
        }
        return request
    }

    private func send<Body: Encodable, Answer: Decodable>(
        _ method: String, _ path: String, body: Body, headers: [String: String] = [:]
    ) async throws -> Answer {
        var request = makeRequest(method, path)
        request.setValue("application/json", forHTTPHeaderField: "Content-Type")
        for (name, value) in headers { request.setValue(value, forHTTPHeaderField: name) }
        request.httpBody = try JSONEncoder().encode(body)
        let (data, answer) = try await session.data(for: request)
        return try Self.parse(data, answer)
    }

    private func send<Answer: Decodable>(_ method: String, _ path: String) async throws -> Answer {
        let (data, answer) = try await session.data(for: makeRequest(method, path))
        return try Self.parse(data, answer)
    }

    private func makeRequest(_ method: String, _ path: String) -> URLRequest {
        var request = URLRequest(url: address.appending(path: path))
        request.httpMethod = method
        authorise(&request)
        return request
    }

    private func authorise(_ request: inout URLRequest) {
        if let token { request.setValue("Bearer \(token)", forHTTPHeaderField: "Authorization") }
    }

    static func parse<Answer: Decodable>(_ data: Data, _ answer: URLResponse) throws -> Answer {
        guard let http = answer as? HTTPURLResponse else { throw ServiceError.unexpectedAnswer(status: 0) }
        if (200..<300).contains(http.statusCode), let found = try? JSONDecoder().decode(Answer.self, from: data) {
            return found
        }
        guard let problem = try? JSONDecoder().decode(Problem.self, from: data) else {
            throw ServiceError.unexpectedAnswer(status: http.statusCode)
        }
        throw ServiceError.problem(
            problem, retryAfter: http.value(forHTTPHeaderField: "Retry-After").flatMap(TimeInterval.init))
    }
}
