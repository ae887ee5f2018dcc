import CryptoKit
import Foundation

/// Return whether an installation is in the share that installs a version.
///
/// The place is the first 8 bytes of sha256(`installation/version`), as a big-endian number modulo 100.
public func isInRollout(installation: String, version: String, percent: Int) -> Bool {
    let digest = SHA256.hash(data: Data("\(installation)/\(version)".utf8))
    let number = digest.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    return number % 100 < UInt64(max(0, percent))
}

/// Return whether a downloaded zip is the one that the service named.
public func isIntact(_ file: URL, model: LatestModel) throws -> Bool {
    try hash(file) == model.sha256
}
