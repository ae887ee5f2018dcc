"""Limits of requests and bytes per device and network address. Above one, a request is refused with when to try again.

A school is often one network address, so what counts against an address never stops a device with a valid token that
stays below the address's rate. Tokens cannot be guessed (256 bits), so a wrong one only slows further wrong ones down.
Codes are shorter: after too many wrong ones from an address, no code from it is tried.
"""

from __future__ import annotations

import hashlib
import ipaddress
from typing import TYPE_CHECKING, Final

from fastapi import Request

from habla_ml.inbox.request_counters import end_of_window
from habla_ml.service.problems import TOO_MANY, ProblemError
from habla_ml.service.state import ServiceState, get_state

if TYPE_CHECKING:
    from habla_ml.inbox.devices import Device

_MINUTE_S: Final = 60
_QUARTER_HOUR_S: Final = 900
_DAY_S: Final = 86_400
_MOST_WRONG_SECRETS: Final = 20
"""In a quarter of an hour from one address."""
_MOST_SIGN_INS_OF_ADDRESS: Final = 30
"""In a minute; a school is often one address."""
_MOST_SIGN_INS_OF_NAME: Final = 10
"""In a quarter of an hour, with one name from one address."""
_IPV6_NETWORK_BITS: Final = 64
"""One subscriber has a whole network of this size."""


def get_client_network(request: Request) -> str:
    """Return the client's IPv4 address, or the /64 network of its IPv6 address."""
    host = "" if request.client is None else request.client.host
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host or "unknown"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_NETWORK_BITS), strict=False))


async def limit_address(request: Request) -> None:
    """Count a request against its network address; raises `ProblemError` above the limit.

    It is `async` because FastAPI runs anything else in another thread, which takes ten times as long.
    """
    state = await get_state(request)
    most = state.settings.service.uploads.address_requests_per_minute
    _count(state, f"address {get_client_network(request)}", 1, _MINUTE_S, most, "requests of this network a minute")


def limit_device(state: ServiceState, device: Device) -> None:
    """Count a request against its device; raises `ProblemError` above the limit."""
    most = state.settings.service.uploads.device_requests_per_minute
    _count(state, f"device {device.device_id}", 1, _MINUTE_S, most, "requests of this device a minute")


def charge_bytes(state: ServiceState, device: Device, size_bytes: int) -> None:
    """Count bytes that are to be stored against the device's day (UTC); raises `ProblemError` above the quota."""
    most = int(state.settings.service.uploads.device_megabytes_per_day * 1_000_000)
    _count(state, f"bytes {device.device_id}", size_bytes, _DAY_S, most, "bytes of this device a day")


def limit_sign_in(request: Request, state: ServiceState, name: str | None) -> None:
    """Count an attempt to sign in or to use an invitation; raises `ProblemError` above the limits.

    The name in its canonical form is counted together with the address, so that no one elsewhere can lock a person out;
    None counts the address alone.
    """
    network = get_client_network(request)
    most = "attempts to sign in from this network a minute"
    _count(state, f"sign-in {network}", 1, _MINUTE_S, _MOST_SIGN_INS_OF_ADDRESS, most, at_once=True)
    if name is None:
        return
    # What is typed as a name can be a password.
    person = hashlib.sha256(name.encode()).hexdigest()
    most = "attempts for this name"
    _count(state, f"sign-in {network} {person}", 1, _QUARTER_HOUR_S, _MOST_SIGN_INS_OF_NAME, most, at_once=True)


def check_wrong_secrets(request: Request, state: ServiceState) -> None:
    """Raise `ProblemError` if too many wrong codes, tokens or passwords came from the address lately."""
    key = f"wrong {get_client_network(request)}"
    if state.counters.read(key, _QUARTER_HOUR_S, state.read_clock()) >= _MOST_WRONG_SECRETS:
        raise _refuse(state, _QUARTER_HOUR_S, f"{_MOST_WRONG_SECRETS} wrong codes or tokens a quarter of an hour")


def count_wrong_secret(request: Request, state: ServiceState) -> None:
    """Count a wrong code, token or password against its address."""
    state.counters.add(f"wrong {get_client_network(request)}", 1, _QUARTER_HOUR_S, state.read_clock(), at_once=True)


def _count(
    state: ServiceState, key: str, amount: int, window_s: int, most: int, what: str, *, at_once: bool = False
) -> None:
    if state.counters.add(key, amount, window_s, state.read_clock(), at_once=at_once) > most:
        raise _refuse(state, window_s, f"{most} {what}")


def _refuse(state: ServiceState, window_s: int, limit: str) -> ProblemError:
    now = state.read_clock()
    wait_s = end_of_window(window_s, now) - int(now.timestamp())
    return ProblemError(TOO_MANY, f"the limit is {limit}; try again in {wait_s} s", wait_s)
