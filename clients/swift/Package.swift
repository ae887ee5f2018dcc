// swift-tools-version: 5.9
import PackageDescription

let package = Package(
    name: "HablaClient",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [.library(name: "HablaClient", targets: ["HablaClient"])],
    targets: [.target(name: "HablaClient")]
)
