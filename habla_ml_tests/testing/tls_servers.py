"""Real web servers in threads: plain or with a certificate of an own authority, and a proxy in front of them."""

from __future__ import annotations

import datetime
import ipaddress
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True)
class SentRequest:
    """A request as a server received it."""

    method: str
    path: str
    token: str | None
    body: bytes


@dataclass
class Reply:
    """A response; `chunks` replaces the body by endless or slow parts."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    chunks: Iterator[bytes] | None = None


@dataclass
class WebServer:
    """A running server; `received` has its requests, and `answer` gives the responses."""

    port: int
    received: list[SentRequest]
    answer: Callable[[SentRequest], Reply]


@contextmanager
def run_web_server(
    answer: Callable[[SentRequest], Reply], certificate: Path | None = None, host: str = "127.0.0.1"
) -> Iterator[WebServer]:
    """Serve on a free port, with TLS if there is a file with a certificate and its key."""
    running = WebServer(0, [], answer)

    class WebHandler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            sent = SentRequest(self.command, self.path, self.headers.get("Authorization"), self.rfile.read(length))
            running.received.append(sent)
            reply = running.answer(sent)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.chunks is None:
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            try:
                for chunk in reply.chunks or [reply.body]:
                    self.wfile.write(chunk)
            except OSError:
                pass  # the client has seen enough

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    for method in ("GET", "POST", "PATCH", "DELETE"):
        setattr(WebHandler, f"do_{method}", WebHandler.respond)
    server = ThreadingHTTPServer((host, 0), WebHandler)
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    running.port = server.server_port
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def run_proxy(target_port: int) -> Iterator[tuple[str, list[str]]]:
    """Serve a proxy that connects every host to a port of this machine; yield its address and the wanted hosts."""
    wanted: list[str] = []

    class ProxyHandler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            wanted.append(self.path)
            with socket.create_connection(("127.0.0.1", target_port)) as upstream:
                self.send_response(200)
                self.end_headers()
                pair = [self.connection, upstream]
                while ready := select.select(pair, [], [], 5)[0]:
                    for each in ready:
                        data = each.recv(65_536)
                        if not data:
                            return
                        pair[each is pair[0]].sendall(data)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), ProxyHandler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", wanted
    finally:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class CertificateAuthority:
    """An own certificate authority, as a school or a company has one."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, folder: Path) -> CertificateAuthority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "School CA")])
        built = _start_certificate(name, name, key).add_extension(x509.BasicConstraints(True, None), critical=True)
        authority = cls(folder, built.sign(key, hashes.SHA256()), key)
        authority.file.write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
        return authority

    @property
    def file(self) -> Path:
        """The file that users trust."""
        return self.folder / "school-ca.pem"

    def issue(self, *names: str) -> Path:
        """Return a file with a certificate for these names and addresses, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
        listed = [
            x509.IPAddress(ipaddress.ip_address(each)) if each[0].isdigit() else x509.DNSName(each) for each in names
        ]
        built = _start_certificate(name, self.certificate.subject, key)
        signed = built.add_extension(x509.SubjectAlternativeName(listed), critical=False).sign(
            self.key, hashes.SHA256()
        )
        path = self.folder / f"{names[0]}.pem"
        private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        path.write_bytes(
            signed.public_bytes(serialization.Encoding.PEM) + key.private_bytes(serialization.Encoding.PEM, *private)
        )
        return path


def _start_certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
