"""Who sends a request: the device of a bearer token."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from habla_ml.inbox.devices import Device, find_device
from habla_ml.service.limits import check_wrong_secrets, count_wrong_secret, limit_device
from habla_ml.service.problems import UNAUTHENTICATED, ProblemError
from habla_ml.service.state import State

BEARER: Final = HTTPBearer(auto_error=False, scheme_name="device", description="The token that POST /v1/devices gave.")
DEVICE_SECURITY: Final[dict[str, Any]] = {"security": [{BEARER.scheme_name: []}]}
"""The part of an operation in the OpenAPI document that says so, for a route that asks `BEARER` itself."""
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]
"""Type of a handler's parameter that receives the bearer token, checked by nobody."""


def get_current_device(request: Request, state: State, credentials: Credentials) -> Device:
    """Return the device that sends the request.

    A missing, wrong, expired or revoked token has the same answer, so that nothing can be learnt from it. Raises
    `ProblemError` for those, and above the device's rate.
    """
    device = None if credentials is None else find_device(state.database, credentials.credentials, state.read_clock())
    if device is None:
        if credentials is not None:
            check_wrong_secrets(request, state)
            count_wrong_secret(request, state)
        raise make_unauthenticated_error()
    limit_device(state, device)
    return device


def make_unauthenticated_error() -> ProblemError:
    """Return the answer to a token that is not valid."""
    return ProblemError(
        UNAUTHENTICATED, "send a valid device token as `Authorization: Bearer`, or enrol the device again"
    )


CurrentDevice = Annotated[Device, Depends(get_current_device)]
"""Type of a handler's parameter that receives the device of the request's token."""
