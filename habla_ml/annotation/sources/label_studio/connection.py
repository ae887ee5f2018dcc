"""The connection to a server: its certificate, a proxy, a redirect to https, and bounds on what it sends.

`SSL_CERT_FILE`, `SSL_CERT_DIR`, `REQUESTS_CA_BUNDLE` and `CURL_CA_BUNDLE` name the trusted certificate authorities;
without them these are the usual ones and those of the operating system. `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
`NO_PROXY` count, except for a server on this machine. A redirect is followed only from http to https of the same host:
then the same request is sent again, with its method and body, so that no POST becomes a GET and no other host gets the
token.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import time
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import httpx

from habla_ml.errors import ServiceError, SettingsError

_MAX_RESPONSE_BYTES: Final = 64 << 20
_MAX_RESPONSE_S: Final = 600.0
"""A server can send one byte a minute, which no timeout of a single read ends."""
_MAX_REDIRECTS: Final = 3
_REDIRECT_STATUS_CODES: Final = frozenset({301, 302, 307, 308})
_PROBE_PATH: Final = "/health"
_CERTIFICATE_FILES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_CERTIFICATE_FOLDER: Final = "SSL_CERT_DIR"
_NAME_MISMATCHES: Final = frozenset({62, 64})
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


class Connection:
    """A connection to one server; it sends a request once.

    Args:
        url: The server's address, with no slash at its end.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._address = httpx.URL(url)
        self._client: httpx.Client | None = None
        self._is_probed = self._address.scheme == "https"

    def close(self) -> None:
        """Close the open sockets."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        parameters: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout_s: float | None = None,
    ) -> httpx.Response:
        """Send a request and return the complete response.

        Raises:
            ServiceError: The response is too large or too slow, or redirects to where no token may be sent.
            SettingsError: A variable of the environment names no certificates or no proxy.
            httpx.TransportError: The server cannot be reached.
        """
        if not self._is_probed:
            self._find_https()
        for _ in range(_MAX_REDIRECTS):
            response = self._exchange(method, path, headers, parameters, body, timeout_s)
            if not _is_redirect(response):
                return response
            self._follow(response, path)
        raise ServiceError(
            f"{self.url}{path} redirects more than {_MAX_REDIRECTS} times; correct the server's redirects"
        )

    def describe_unreachable(self, error: httpx.TransportError) -> str:
        """Return why the server cannot be reached and what to do, as the end of a sentence."""
        again = "then run again: nothing is lost or duplicated"
        if (refused := find_certificate_error(error)) is not None:
            reason = f"cannot be reached safely: its certificate is not trusted ({refused.verify_message})"
            if refused.verify_code in _NAME_MISMATCHES:
                return f"{reason}; set annotation.label_studio.url to a name in the certificate, {again}"
            return f"{reason}; set SSL_CERT_FILE to a PEM file with the certificate authority that signed it, {again}"
        remedy = "start the server or correct annotation.label_studio.url"
        if find_proxy(self._address) is not None:
            remedy = (
                "correct the proxy of the environment (HTTPS_PROXY, HTTP_PROXY or ALL_PROXY), add the server's name to "
                f"NO_PROXY, or {remedy}"
            )
        return f"cannot be reached ({type(error).__name__}); {remedy}, {again}"

    def _find_https(self) -> None:
        """Ask an http address, without a token, whether it redirects to https."""
        response = self._exchange("GET", _PROBE_PATH, {}, None, None, None)
        if _is_redirect(response) and _find_target(response).scheme == "https":
            self._follow(response, _PROBE_PATH)
        self._is_probed = True

    def _follow(self, response: httpx.Response, path: str) -> None:
        """Change the address to the https one of the same host, or refuse the redirect."""
        target = _find_target(response)
        origin = f"{target.scheme}://{target.netloc.decode('ascii')}"
        if target.scheme != "https":
            raise ServiceError(
                f"{self.url}{path} redirects to {origin}, where anyone on the way could read the token; let the server "
                "redirect to https only"
            )
        moved = target.copy_with(path=target.path.removesuffix(path).rstrip("/"), query=None, fragment=None)
        other_port = self._address.scheme == "https" and target.port != self._address.port
        if target.host != self._address.host or other_port or not target.path.endswith(path) or moved == self._address:
            raise ServiceError(
                f"{self.url}{path} redirects to another place on {origin}, and the token is sent only to the configured "
                "host; set annotation.label_studio.url to the address that the server itself uses"
            )
        self._address = moved
        self.close()

    def _exchange(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        parameters: Mapping[str, Any] | None,
        body: Any,
        timeout_s: float | None,
    ) -> httpx.Response:
        if self._client is None:
            self._client = _open_client(self._address)
        # A small compressed body can be huge; gzip at most by 1,000.
        request = self._client.build_request(
            method,
            f"{str(self._address).rstrip('/')}{path}",
            params=parameters,
            json=body,
            headers={**headers, "Accept-Encoding": "gzip"},
            timeout=timeout_s or httpx.USE_CLIENT_DEFAULT,
        )
        deadline = time.monotonic() + max(_MAX_RESPONSE_S, timeout_s or 0.0)
        response = self._client.send(request, stream=True)
        content = bytearray()
        with closing(response):
            if response.headers.get("Content-Encoding", "identity").lower() not in {"identity", "gzip"}:
                raise ServiceError(f"{self.url}{path} responds in a compression that was not asked for; refused")
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > _MAX_RESPONSE_BYTES:
                    limit = f"{_MAX_RESPONSE_BYTES >> 20} MiB"
                    raise ServiceError(
                        f"{self.url}{path} responds with more than {limit}; refused; lower "
                        "annotation.label_studio.page_size if the texts are real"
                    )
                if time.monotonic() > deadline:
                    raise ServiceError(f"{self.url}{path} still responds after {_MAX_RESPONSE_S:g} s; refused")
        kept = {"location": response.headers["location"]} if "location" in response.headers else {}
        return httpx.Response(response.status_code, content=bytes(content), request=request, headers=kept)


def find_certificate_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """Return the refusal of a certificate that caused an error, or None."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def build_tls_context(environment: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """Return the context with the trusted certificate authorities.

    Raises `SettingsError` if a variable names no readable certificates.
    """
    file = next((name for name in _CERTIFICATE_FILES if environment.get(name)), None)
    named = [(file, environment[file])] if file else []
    folders = environment.get(_CERTIFICATE_FOLDER, "").split(os.pathsep)
    named += [(_CERTIFICATE_FOLDER, each) for each in folders if each]
    if not named:
        context = httpx.create_ssl_context(trust_env=False)
        context.load_default_certs()
        return context
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name, path in named:
        try:
            if Path(path).is_dir():  # requests allows a folder in its variable too
                context.load_verify_locations(capath=path)
            else:
                context.load_verify_locations(cafile=path)
        except OSError as error:  # ssl.SSLError is one
            reason = error.strerror or "no PEM"
            raise SettingsError(
                f"environment variable {name}: {path} has no certificates in PEM form ({reason}); correct the path"
            ) from None
    return context


def find_proxy(url: httpx.URL) -> str | None:
    """Return the address of the proxy for a server, or None for a direct connection."""
    host = url.host
    if host == "localhost" or _is_in_networks(host, ["127.0.0.0/8", "::1/128"]):
        return None
    proxies = urllib.request.getproxies()
    excluded = [each.strip() for each in proxies.get("no", "").split(",")]
    if urllib.request.proxy_bypass(host) or _is_in_networks(host, excluded):
        return None
    return proxies.get(url.scheme) or proxies.get("all")


def _is_in_networks(host: str, networks: list[str]) -> bool:
    """Return whether a host is an IP address in one of the networks, such as 192.168.0.0/16; others are ignored."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for each in networks:
        try:
            if address in ipaddress.ip_network(each, strict=False):
                return True
        except ValueError:
            continue
    return False


def _open_client(address: httpx.URL) -> httpx.Client:
    context = build_tls_context() if address.scheme == "https" else httpx.create_ssl_context(trust_env=False)
    proxy = find_proxy(address)
    try:
        chosen = None if proxy is None else httpx.Proxy(proxy if "://" in proxy else f"http://{proxy}")
        if chosen is not None and chosen.url.scheme == "https":
            chosen = httpx.Proxy(chosen.url, ssl_context=build_tls_context())
        timeout = httpx.Timeout(60.0, connect=5.0)
        return httpx.Client(timeout=timeout, verify=context, proxy=chosen, trust_env=False)
    except (ValueError, ImportError, httpx.InvalidURL):
        # The message can repeat the proxy's password.
        raise SettingsError(
            f"the proxy of the environment for {address.scheme} addresses cannot be used; write it like "
            "http://proxy.example.org:3128, and install httpx[socks] for a SOCKS proxy"
        ) from None


def _is_redirect(response: httpx.Response) -> bool:
    return response.status_code in _REDIRECT_STATUS_CODES and "location" in response.headers


def _find_target(response: httpx.Response) -> httpx.URL:
    try:
        return response.request.url.join(response.headers["location"])
    except (httpx.InvalidURL, ValueError):
        raise ServiceError(f"{response.request.url.copy_with(query=None)} redirects to no valid address") from None
