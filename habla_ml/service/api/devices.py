"""Enrolment: a device sends a code that a person typed, and receives its token."""

from __future__ import annotations

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from habla_ml.inbox.devices import enrol_device
from habla_ml.service.limits import check_wrong_secrets, count_wrong_secret
from habla_ml.service.problems import UNAUTHENTICATED, ProblemError, describe_problems
from habla_ml.service.state import State

router = APIRouter(prefix="/v1", tags=["devices"])


class EnrolmentRequest(BaseModel):
    """The code, as the person typed it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: Annotated[str, Field(min_length=1, max_length=50, examples=["7Q2M-X0KD-93FA"])]


class Enrolment(BaseModel):
    """The new device. The token is not shown again."""

    model_config = ConfigDict(frozen=True)

    deviceID: str  # noqa: N815 (a name of the wire)
    label: str
    token: str
    expiresAt: datetime  # noqa: N815


Key = Annotated[
    Annotated[str, Field(pattern="^[!-~]{32,200}$")] | SkipJsonSchema[None],
    Header(
        alias="Idempotency-Key",
        description="256 random bits that only the device knows. A repeat with the same code and key, such as after a lost "
        "answer, has the same answer until the code expires.",
    ),
]


@router.post("/devices", status_code=HTTPStatus.CREATED, responses=describe_problems(UNAUTHENTICATED))
def create_device(
    body: EnrolmentRequest, request: Request, response: Response, state: State, key: Key = None
) -> Enrolment:
    """Exchange an enrolment code for a device's id and token."""
    check_wrong_secrets(request, state)
    lifetime = timedelta(days=state.settings.service.device_token_days)
    enrolled = enrol_device(state.database, body.code, state.read_clock(), lifetime, key)
    if enrolled is None:
        count_wrong_secret(request, state)
        raise ProblemError(UNAUTHENTICATED, "the code is wrong, used or expired; ask for a new one")
    response.headers["Cache-Control"] = "no-store"
    return Enrolment(
        deviceID=enrolled.device.device_id,
        label=enrolled.device.label,
        token=enrolled.token,
        expiresAt=enrolled.expires_at,
    )
