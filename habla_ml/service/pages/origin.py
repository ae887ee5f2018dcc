"""Where a request comes from: from a page of this service, and from a person at this machine.

A browser says which page sent a request (`Sec-Fetch-Site`, or `Origin` where the connection is not encrypted). A request
that changes something must come from a page of this service; no other site can then act in a person's name.

The person at the machine of a service that listens there only needs no account. A proxy on that machine must not give
this to the whole network, nor may a site whose name is pointed at 127.0.0.1 take it, so every sign of either refuses it.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from fastapi import Request

from habla_ml.service.problems import FORBIDDEN, ProblemError
from habla_ml.settings.service import ServiceSettings

_OWN_PATH: Final = re.compile(r"/(?:[A-Za-z0-9][\w./%~-]*)?", re.ASCII)
_SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
_PROXY_HEADERS: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")


def require_own_origin(request: Request, settings: ServiceSettings) -> None:
    """Raise `ProblemError` if a request that changes something does not come from a page of this service."""
    if request.method in _SAFE_METHODS:
        return
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        is_own = site == "same-origin"
    else:
        own = {request.headers.get("host", ""), urlsplit(settings.public_url or "").netloc} - {""}
        is_own = urlsplit(request.headers.get("origin", "")).netloc in own
    if not is_own:
        raise ProblemError(FORBIDDEN, "The request does not come from a page of this service")


def choose_own_path(path: str) -> str:
    """Return a path of this service; an address that leads elsewhere becomes the start page."""
    return path if _OWN_PATH.fullmatch(path) else "/"


def is_local_person(request: Request, settings: ServiceSettings) -> bool:
    """Return whether a request is from this machine to a service that listens on this machine only."""
    is_only_here = (
        _is_loopback(settings.host)
        and (settings.public_url is None or _is_loopback(urlsplit(settings.public_url).hostname))
        and not settings.trusted_proxies
    )
    return is_only_here and is_from_this_machine(request)


def is_from_this_machine(request: Request) -> bool:
    """Return whether a program on this machine sent a request, and neither a proxy nor another site stands between."""
    if request.client is None or not _is_loopback(request.client.host):
        return False
    # HTTP/1.0 is what nginx speaks to what is behind it; no browser does.
    is_forwarded = request.scope["http_version"] == "1.0" or any(each in request.headers for each in _PROXY_HEADERS)
    hosts = request.headers.getlist("host")
    return not is_forwarded and len(hosts) == 1 and _is_loopback(_parse_host(hosts[0]))


def _parse_host(value: str) -> str | None:
    try:
        return urlsplit(f"//{value}").hostname
    except ValueError:
        return None


def _is_loopback(host: str | None) -> bool:
    if host is None or host == "localhost":
        return host is not None
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
