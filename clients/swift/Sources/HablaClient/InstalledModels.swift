import CryptoKit
import Foundation

/// A model on the device.
public struct InstalledModel: Hashable, Sendable {
    public let folder: URL
    public let sha256: String
}

/// The models in a folder, beside each other; `current` and `previous` are symbolic links that are replaced atomically.
public struct InstalledModels: Sendable {
    public let root: URL

    public init(root: URL) {
        self.root = root
    }

    /// The folder of the present model; nil before the first one.
    public var current: URL? { resolve("current") }

    /// Unpack an archive that was downloaded and hashed, and make it the present model.
    ///
    /// - Parameters:
    ///   - archive: A file whose sha256 is the signed one; it is compared here again.
    ///   - unpack: Unpacks a zip into an empty folder. Foundation has no zip reader, so the app brings one.
    ///   - loads: Whether the model loads and predicts here, such as `WhisperKit(modelFolder:)` on a second of silence.
    /// - Returns: Whether the new model is in use. If it does not load, the model before it stays.
    public func install(
        _ archive: URL, sha256: String, unpack: (URL, URL) throws -> Void, loads: (URL) async -> Bool
    ) async throws -> Bool {
        let digest = SHA256.hash(data: try Data(contentsOf: archive, options: .mappedIfSafe))
        guard digest.map({ String(format: "%02x", $0) }).joined() == sha256 else { throw UntrustedRelease.damaged }
        let files = FileManager.default
        let target = root.appending(path: String(sha256.prefix(12)))
        let unfinished = root.appending(path: "\(target.lastPathComponent).unfinished")
        try? files.removeItem(at: unfinished)
        try files.createDirectory(at: unfinished, withIntermediateDirectories: true)
        try unpack(archive, unfinished)
        try? files.removeItem(at: target)
        try files.moveItem(at: unfinished, to: target)
        guard await loads(target) else {
            try? files.removeItem(at: target)
            return false
        }
        if let before = current { try link("previous", to: before) }
        try link("current", to: target)
        try removeOthers()
        return true
    }

    /// Return to the model before the present one, because the present one fails.
    public func rollBack() throws -> URL? {
        guard let before = resolve("previous") else { return nil }
        try link("current", to: before)
        return before
    }

    private func resolve(_ name: String) -> URL? {
        let path = root.appending(path: name).path(percentEncoded: false)
        guard let target = try? FileManager.default.destinationOfSymbolicLink(atPath: path) else { return nil }
        return root.appending(path: target)
    }

    private func link(_ name: String, to folder: URL) throws {
        let new = root.appending(path: "\(name).new").path(percentEncoded: false)
        try? FileManager.default.removeItem(atPath: new)
        try FileManager.default.createSymbolicLink(atPath: new, withDestinationPath: folder.lastPathComponent)
        guard rename(new, root.appending(path: name).path(percentEncoded: false)) == 0 else {
            throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO)
        }
    }

    private func removeOthers() throws {
        let kept = Set([current, resolve("previous")].compactMap { $0?.lastPathComponent } + ["current", "previous"])
        for each in try FileManager.default.contentsOfDirectory(atPath: root.path(percentEncoded: false))
        where !kept.contains(each) {
            try? FileManager.default.removeItem(at: root.appending(path: each))
        }
    }
}
