"""Receive clips: one audio file a request, kept durably before it is acknowledged, and decoded later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from habla_ml.inbox.clip_files import get_incoming_folder
from habla_ml.inbox.clips import (
    ClipConflictError,
    ClipErasedError,
    ConsentMissingError,
    NewClip,
    is_clip_held,
)
from habla_ml.inbox.devices import Device
from habla_ml.service.access import CurrentDevice
from habla_ml.service.api.fields import HeaderName, Moment, Uuid
from habla_ml.service.bodies import ReceivedBody, read_body_to_file, read_content_digest
from habla_ml.service.limits import charge_bytes
from habla_ml.service.problems import (
    CONFLICT,
    DIGEST_MISMATCH,
    ERASED,
    NO_CONSENT,
    Problem,
    ProblemError,
    describe_problems,
)
from habla_ml.service.state import ServiceState, State

router = APIRouter(tags=["uploads"])
_REFUSALS: Final[dict[type[Exception], Problem]] = {
    ClipConflictError: CONFLICT,
    ClipErasedError: ERASED,
    ConsentMissingError: NO_CONSENT,
}


class ClipReceipt(BaseModel):
    """The acknowledgement: the clip is kept durably, and the device may delete its own copy."""

    model_config = ConfigDict(frozen=True)

    id: Uuid
    status: Annotated[Literal["stored", "held"], Field(description="`held`: an earlier request stored it.")]


def read_new_clip(
    clip_id: Annotated[Uuid, Path(description="A UUID that the device chose for the clip.")],
    device: CurrentDevice,
    state: State,
    request: Request,
    content_digest: Annotated[str, Header(description="`sha-256=:BASE64:` of the file (RFC 9530).")],  # noqa: ARG001
    habla_session: Annotated[HeaderName, Header(description="The app's name of the session, in UTF-8.")],
    habla_contributor: Annotated[HeaderName | None, Header(description="Pseudonym of the speaker, in UTF-8.")] = None,
    habla_recorded_at: Annotated[Moment | None, Header()] = None,
) -> NewClip:
    """Return the clip that the headers of a request describe."""
    return NewClip(
        sent_id=clip_id,
        sha256=read_content_digest(request).hex(),
        device_id=device.device_id,
        contributor=habla_contributor,
        session=habla_session,
        recorded_at=habla_recorded_at,
        received_at=state.read_clock(),
    )


@router.put(
    "/v1/clips/{clip_id}",
    status_code=HTTPStatus.CREATED,
    responses={
        **describe_problems(CONFLICT, ERASED, NO_CONSENT, DIGEST_MISMATCH),
        HTTPStatus.OK: {"model": ClipReceipt, "description": "An earlier request stored the same bytes"},
    },
    openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": {}}}},
)
async def put_clip(
    request: Request,
    response: Response,
    state: State,
    device: CurrentDevice,
    clip: Annotated[NewClip, Depends(read_new_clip)],
) -> ClipReceipt:
    """Keep one audio file of any common format; the same id with the same bytes succeeds again."""
    is_held = await run_in_threadpool(find_held_clip, state, clip)
    if not is_held:
        limits = state.settings.service.uploads
        folder = get_incoming_folder(state.settings)
        body = await read_body_to_file(request, folder, limits.largest_clip_bytes, limits.body_timeout_s)
        try:
            is_held = not await run_in_threadpool(keep_clip, state, device, clip, body)
        finally:
            body.path.unlink(missing_ok=True)
    response.status_code = HTTPStatus.OK if is_held else HTTPStatus.CREATED
    return ClipReceipt(id=clip.sent_id, status="held" if is_held else "stored")


def find_held_clip(state: ServiceState, clip: NewClip) -> bool:
    """Return whether the clip is held already; raises `ProblemError` if it cannot be kept, before its body is read."""
    with _answer_refusals(), state.database.read() as connection:
        return is_clip_held(connection, clip, state.settings.consent)


def keep_clip(state: ServiceState, device: Device, clip: NewClip, body: ReceivedBody) -> bool:
    """Keep the received body; return whether it is new, or raise `ProblemError`."""
    charge_bytes(state, device, body.size_bytes)
    with _answer_refusals():
        return state.clip_receiver.receive(clip, body.path)


@contextmanager
def _answer_refusals() -> Iterator[None]:
    try:
        yield
    except tuple(_REFUSALS) as error:
        raise ProblemError(_REFUSALS[type(error)], str(error)) from None
