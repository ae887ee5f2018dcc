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

    code: Annotated[
        str,
        Field(
            min_length=1,
            max_length=50,
            description="The operator of the service makes it for one device. It can be used once.",
            examples=["7Q2M-X0KD-93FA"],
        ),
    ]


class Enrolment(BaseModel):
    """The new device. The token is not shown again."""

    model_config = ConfigDict(frozen=True)

    deviceID: Annotated[str, Field(description="Names the device to the operator of the service.")]  # noqa: N815 (a name of the wire)
    label: Annotated[str, Field(description="What the operator called the device.", examples=["tablet of class 3"])]
    token: Annotated[str, Field(description="Send it as `Authorization: Bearer TOKEN`. Keep it in the keychain.")]
    expiresAt: Annotated[datetime, Field(description="From then on the token gets 401; enrol again with a new code.")]  # noqa: N815


Key = Annotated[
    Annotated[str, Field(pattern="^[!-~]{32,200}$")] | SkipJsonSchema[None],
    Header(
        alias="Idempotency-Key",
        description="256 random bits that only the device knows, such as 43 characters of base64url. Keep it before you send "
        "the code: a repeat with the same code and key, such as after a lost answer, has the same answer until the code "
        "expires. Without it, a lost answer costs a code.",
    ),
]


@router.post(
    "/devices",
    summary="Enrol a device",
    status_code=HTTPStatus.CREATED,
    response_description="The device is enrolled",
    responses=describe_problems(UNAUTHENTICATED),
)
def create_device(
    body: EnrolmentRequest, request: Request, response: Response, state: State, key: Key = None
) -> Enrolment:
    """Exchange a code that a person typed for the device's token, which is shown only here.

    A device that has a token, valid or expired, sends it too, as `Authorization: Bearer`. It then stays the same device, with
    its consents and clips, and its token is valid again. Without it, or after a revocation, it is a new device.
    """
    check_wrong_secrets(request, state)
    lifetime = timedelta(days=state.settings.service.device_token_days)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    earlier_token = token.strip() if scheme.lower() == "bearer" else ""
    enrolled = enrol_device(state.database, body.code, state.read_clock(), lifetime, key, earlier_token)
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
