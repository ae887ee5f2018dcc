import CryptoKit
import Foundation

/// A model on the device.
struct InstalledModel: Codable, Equatable {
    /// Name of its folder.
    let name: String
    let version: String
    /// Of its archive.
    let sha256: String
}

/// Content of `state.json`: what is installed, what was seen, and which keys are trusted.
struct DeviceState: Codable, Equatable {
    /// The newest document of keys that the device has followed.
    var keys: Data
    /// The highest number of a move that the device has seen.
    var sequence = 0
    /// The latest time of a signature that the device has seen. Its clock cannot be right before that.
    var knownTime: Date
    var current: InstalledModel?
    var previous: InstalledModel?
    /// The sha256 of archives whose model did not load on this device.
    var broken: [String] = []
}

/// The models in a folder, beside each other, and one small file that names the present one.
///
/// The app may be killed at any step: the file names the old or the complete new model.
struct InstalledModels {
    let folder: URL

    private var models: URL { folder.appending(path: "models") }
    var downloads: URL { folder.appending(path: "downloads") }
    private var stateFile: URL { folder.appending(path: "state.json") }

    init(folder: URL) throws {
        self.folder = folder
        for each in [models, downloads] {
            try FileManager.default.createDirectory(at: each, withIntermediateDirectories: true)
        }
        // They can be downloaded again, so they need no place in a backup.
        var values = URLResourceValues()
        values.isExcludedFromBackup = true
        var place = folder
        try place.setResourceValues(values)
    }

    func readState() throws -> DeviceState? {
        guard FileManager.default.fileExists(atPath: stateFile.path(percentEncoded: false)) else { return nil }
        return try JSONDecoder().decode(DeviceState.self, from: Data(contentsOf: stateFile))
    }

    /// Replace the state in one step, then remove the models and archives that it does not name.
    func writeState(_ state: DeviceState) throws {
        try JSONEncoder().encode(state).write(to: stateFile, options: .atomic)
        let named = [state.current, state.previous].compactMap { $0 }
        try remove(in: models) { !named.map(\.name).contains($0) }
        try remove(in: downloads) { named.map(\.sha256).contains($0) }
    }

    func find(_ model: InstalledModel) -> URL {
        models.appending(path: model.name)
    }

    /// Unpack an archive into the folder of a model, once every file is there and verified.
    ///
    /// A file that the `earlier` model has with the same bytes becomes a link to it and takes no space.
    func unpack(
        _ archive: URL, as model: InstalledModel, files stated: [StatedFile], earlier: URL?,
        with unpack: (URL, URL) throws -> Void
    ) throws -> URL {
        let files = FileManager.default
        let target = find(model)
        let unfinished = models.appending(path: "\(model.name).unfinished")
        for each in [target, unfinished] where files.fileExists(atPath: each.path(percentEncoded: false)) {
            try files.removeItem(at: each)
        }
        try files.createDirectory(at: unfinished, withIntermediateDirectories: true)
        try unpack(archive, unfinished)
        guard try listFiles(in: unfinished) == Set(stated.map(\.path)) else { throw UntrustedRelease.damaged }
        for each in stated {
            let place = unfinished.appending(path: each.path)
            guard try hash(place) == each.sha256 else { throw UntrustedRelease.damaged }
            let same = earlier?.appending(path: each.path)
            if let same, (try? hash(same)) == each.sha256 {
                try files.removeItem(at: place)
                try files.linkItem(at: same, to: place)
            }
        }
        try files.moveItem(at: unfinished, to: target)
        return target
    }

    private func listFiles(in root: URL) throws -> Set<String> {
        let names = try FileManager.default.subpathsOfDirectory(atPath: root.path(percentEncoded: false))
        return Set(
            names.filter { name in
                var isFolder: ObjCBool = false
                let path = root.appending(path: name).path(percentEncoded: false)
                return FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) && !isFolder.boolValue
            })
    }

    private func remove(in place: URL, where isUnneeded: (String) -> Bool) throws {
        for name in try FileManager.default.contentsOfDirectory(atPath: place.path(percentEncoded: false))
        where isUnneeded(name) {
            try FileManager.default.removeItem(at: place.appending(path: name))
        }
    }
}

/// Return the sha256 of a file in hexadecimal digits, without reading the whole file into memory.
func hash(_ file: URL) throws -> String {
    let handle = try FileHandle(forReadingFrom: file)
    defer { try? handle.close() }
    var hasher = SHA256()
    while let part = try handle.read(upToCount: 1 << 20), !part.isEmpty {
        hasher.update(data: part)
    }
    return hasher.finalize().map { String(format: "%02x", $0) }.joined()
}
