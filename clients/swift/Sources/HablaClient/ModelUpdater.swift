import CryptoKit
import Foundation

/// Who asks for updates.
public struct UpdateClient: Sendable {
    /// A random id of the device that never changes and never leaves it, for the rollout.
    public let installation: String
    public let appVersion: String
    public let channel: String
    public let platform = "ios"

    public init(installation: String, appVersion: String, channel: String = "stable") {
        self.installation = installation
        self.appVersion = appVersion
        self.channel = channel
    }
}

/// A model to install, verified but not downloaded yet.
public struct OfferedUpdate: Sendable {
    public let statement: ChannelStatement
    public let archive: StatedArchive
}

/// Why a download ended. The next call of `install` goes on with it.
public enum FailedDownload: Error {
    case status(Int)
    case otherSize(received: Int, stated: Int)
}

/// Keeps the model in a folder up to date from a CDN: only what is signed, complete and newer.
///
/// One instance uses the folder at a time. The app may be killed at any point.
public actor ModelUpdater {
    private static let partBytes = 8 << 20
    private let address: URL
    private let client: UpdateClient
    private let models: InstalledModels
    private let session: URLSession
    private var state: DeviceState

    /// - Parameters:
    ///   - address: Root of the CDN.
    ///   - folder: For the models of the device.
    ///   - shippedKeys: The document of keys that the app carries, `keys/000001.json` or a later one.
    public init(
        address: URL, folder: URL, client: UpdateClient, shippedKeys: Data, session: URLSession = .shared
    ) throws {
        self.address = address
        self.client = client
        self.session = session
        models = try InstalledModels(folder: folder)
        let (_, shipped) = try readKeys(shippedKeys)
        var found = try models.readState() ?? DeviceState(keys: shippedKeys, knownTime: shipped.created)
        let (_, known) = try readKeys(found.keys)
        if known.version < shipped.version { found.keys = shippedKeys }
        state = found
    }

    /// The folder of the present model; nil before the first update.
    public var modelFolder: URL? { state.current.map(models.find) }

    /// Return the model to install, or nil if the device has it, waits for its share, or cannot load it.
    public func check() async throws -> OfferedUpdate? {
        let now = max(Date.now, state.knownTime)
        var changed = state
        changed.keys = try await followKeys(state.keys, now: now) { version in
            try await fetch("keys/\(String(format: "%06d", version)).json")
        }
        guard let latest = try await fetch("channels/\(client.channel)/latest.json") else { return nil }
        let (_, keys) = try readKeys(changed.keys)
        let statement = try readStatement(
            latest, keys: keys, channel: client.channel, now: now, oldestSequence: state.sequence)
        changed.sequence = statement.sequence
        changed.knownTime = max(state.knownTime, statement.signedAt)
        try save(changed)
        guard let archive = statement.models[client.platform], wants(statement, archive) else { return nil }
        return OfferedUpdate(statement: statement, archive: archive)
    }

    /// Download, verify and unpack a model, make it the present one if it loads, and return the present folder.
    ///
    /// - Parameters:
    ///   - unpack: Unpacks a zip into an empty folder. Foundation has no zip reader, so the app brings one.
    ///   - loads: Whether the model loads and predicts here, such as `WhisperKit(modelFolder:)` on a second of silence.
    @discardableResult
    public func install(
        _ offer: OfferedUpdate, unpack: @Sendable (URL, URL) throws -> Void, loads: @Sendable (URL) async -> Bool
    ) async throws -> URL? {
        let base = address.appending(path: "channels/\(client.channel)/latest.json")
        var changed = state
        if let earlier = state.previous, earlier.sha256 == offer.archive.sha256 {
            (changed.current, changed.previous) = (earlier, state.current)
            try save(changed)
            return modelFolder
        }
        let stated = try await fetchFiles(offer, relativeTo: base)
        let archive = try await download(offer.archive, relativeTo: base)
        let model = InstalledModel(
            name: "\(offer.statement.version)-\(offer.archive.sha256.prefix(12))", version: offer.statement.version,
            sha256: offer.archive.sha256)
        let folder = try models.unpack(archive, as: model, files: stated, earlier: modelFolder, with: unpack)
        if await loads(folder) {
            (changed.current, changed.previous) = (model, state.current)
        } else {
            changed.broken.append(model.sha256)
        }
        try save(changed)
        return modelFolder
    }

    /// Return to the previous model, because the present one fails; it is not installed again.
    public func rejectCurrent() throws -> URL? {
        guard let broken = state.current else { return nil }
        var changed = state
        (changed.current, changed.previous) = (state.previous, nil)
        changed.broken.append(broken.sha256)
        try save(changed)
        return modelFolder
    }

    private func wants(_ statement: ChannelStatement, _ archive: StatedArchive) -> Bool {
        !state.broken.contains(archive.sha256) && state.current?.sha256 != archive.sha256
            && isNewEnough(client.appVersion, minimum: statement.minimumAppVersion)
            && isInRollout(
                installation: client.installation, version: statement.version, percent: statement.rolloutPercent)
    }

    private func save(_ changed: DeviceState) throws {
        try models.writeState(changed)
        state = changed
    }

    /// Return a small document of the CDN; nil if there is none.
    private func fetch(_ path: String) async throws -> Data? {
        let (data, answer) = try await session.data(from: address.appending(path: path))
        let status = (answer as? HTTPURLResponse)?.statusCode ?? 0
        // S3 answers 403 for a missing object to whom it does not list the bucket.
        if status == 404 || status == 403 { return nil }
        guard status == 200 else { throw FailedDownload.status(status) }
        return data
    }

    private func fetchFiles(_ offer: OfferedUpdate, relativeTo base: URL) async throws -> [StatedFile] {
        guard let url = URL(string: offer.statement.manifestUrl, relativeTo: base) else { throw UntrustedRelease.damaged }
        let (data, _) = try await session.data(from: url)
        let digest = SHA256.hash(data: data).map { String(format: "%02x", $0) }.joined()
        guard digest == offer.statement.manifestSha256 else { throw UntrustedRelease.damaged }
        let manifest = try makeStatementDecoder().decode(ReleaseManifest.self, from: data)
        guard let found = manifest.archives.first(where: { $0.sha256 == offer.archive.sha256 }) else {
            throw UntrustedRelease.damaged
        }
        return found.files
    }

    /// Download an archive part by part; what an earlier call received is kept.
    private func download(_ archive: StatedArchive, relativeTo base: URL) async throws -> URL {
        guard let url = URL(string: archive.url, relativeTo: base) else { throw UntrustedRelease.damaged }
        let file = models.downloads.appending(path: archive.sha256)
        if !FileManager.default.fileExists(atPath: file.path(percentEncoded: false)) {
            try Data().write(to: file)
        }
        let handle = try FileHandle(forWritingTo: file)
        defer { try? handle.close() }
        var received = Int(try handle.seekToEnd())
        while received < archive.sizeBytes {
            var request = URLRequest(url: url)
            let last = min(received + Self.partBytes, archive.sizeBytes) - 1
            request.setValue("bytes=\(received)-\(last)", forHTTPHeaderField: "Range")
            let (data, answer) = try await session.data(for: request)
            let status = (answer as? HTTPURLResponse)?.statusCode ?? 0
            if status == 200 {  // a server without ranges sends everything
                try handle.truncate(atOffset: 0)
                received = 0
            } else if status != 206 {
                throw FailedDownload.status(status)
            }
            guard !data.isEmpty, received + data.count <= archive.sizeBytes else {
                throw FailedDownload.otherSize(received: received + data.count, stated: archive.sizeBytes)
            }
            try handle.write(contentsOf: data)
            received += data.count
        }
        try handle.synchronize()
        guard try hash(file) == archive.sha256 else {
            try FileManager.default.removeItem(at: file)
            throw UntrustedRelease.damaged
        }
        return file
    }
}

/// A file inside an archive, as the manifest states it.
struct StatedFile: Decodable, Sendable {
    let path: String
    let sha256: String
}

private struct ReleaseManifest: Decodable {
    struct Archive: Decodable {
        let sha256: String
        let files: [StatedFile]
    }
    let archives: [Archive]
}

/// Return whether an app may load a model; `1.2` equals `1.2.0`.
func isNewEnough(_ version: String, minimum: String?) -> Bool {
    guard let minimum else { return true }
    let (own, least) = (parseVersion(version), parseVersion(minimum))
    return !own.lexicographicallyPrecedes(least)
}

private func parseVersion(_ text: String) -> [Int] {
    let parts = text.split(separator: ".").map { Int($0) ?? 0 }
    return parts + Array(repeating: 0, count: max(0, 4 - parts.count))
}
