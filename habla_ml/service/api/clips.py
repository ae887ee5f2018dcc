"""Receive clips: one audio file a request, kept durably before it is acknowledged, and decoded later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path as FilePath
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from habla_ml.inbox.clip_files import get_incoming_folder
from habla_ml.inbox.clips import (
    ClipConflictError,
    ClipErasedError,
    ConsentMissingError,
    DeviceRevokedError,
    NewClip,
    is_clip_held,
)
from habla_ml.inbox.devices import Device
from habla_ml.service.access import BEARER, DEVICE_SECURITY, get_current_device, make_unauthenticated_error
from habla_ml.service.api.direct_route import DirectRoute, describe_parameters, read_parameters
from habla_ml.service.api.fields import HeaderName, Moment, Uuid
from habla_ml.service.bodies import read_content_digest, receive_body
from habla_ml.service.limits import charge_bytes, limit_address, limit_device
from habla_ml.service.problems import (
    CONFLICT,
    DIGEST_MISMATCH,
    ERASED,
    INVALID,
    NO_CONSENT,
    Problem,
    ProblemError,
    describe_problems,
)
from habla_ml.service.register_check import read_clip_check
from habla_ml.service.state import ServiceState, get_state

_PATH: Final = "/v1/clips/{clip_id}"

router = APIRouter(tags=["uploads"], route_class=DirectRoute)
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


class ClipParameters(BaseModel):
    """What the path and the headers of an upload say of the clip."""

    model_config = ConfigDict(frozen=True)

    clip_id: Annotated[Uuid, Field(description="A random UUID in lower case that the device chose.")]
    content_digest: Annotated[
        str,
        Field(
            description="`sha-256=:BASE64:`, the 32 bytes of the file's SHA-256 in base64 between colons (RFC 9530).",
            examples=["sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"],
        ),
    ]
    habla_session: Annotated[
        HeaderName,
        Field(
            description="The app's name of the recording session, such as a lesson, in UTF-8. Not the name of a person.",
            examples=["3A, Monday"],
        ),
    ]
    habla_contributor: Annotated[
        HeaderName | None,
        Field(
            description="Pseudonym of the speaker, in UTF-8, as in the consent. Without it, a service that requires "
            "consents answers `/problems/no-consent`.",
            examples=["c-017"],
        ),
    ] = None
    habla_recorded_at: Annotated[
        Moment | None,
        Field(description="Start of the recording, RFC 3339 with a zone.", examples=["2026-11-29T07:00:00+01:00"]),
    ] = None


@router.put(
    _PATH,
    summary="Upload a clip",
    status_code=HTTPStatus.CREATED,
    response_model=ClipReceipt,
    response_description="The clip is stored durably",
    responses={
        **describe_problems(CONFLICT, ERASED, NO_CONSENT, DIGEST_MISMATCH, INVALID),
        HTTPStatus.OK: {"model": ClipReceipt, "description": "An earlier request stored the same bytes"},
    },
    openapi_extra={
        "requestBody": {
            "description": "The bytes of one file, not a form.",
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        "parameters": describe_parameters(ClipParameters, _PATH),
        **DEVICE_SECURITY,
    },
)
async def put_clip(request: Request) -> Response:
    """Store one audio file: WAV, FLAC, M4A (AAC), MP3, Ogg or WebM (Opus, Vorbis), AIFF or CAF.

    Send the consent first. The same id with the same bytes succeeds again, so repeat a request whose answer got lost.
    To resume an upload, send the whole file again. The file is decoded later: one that is no audio, or is damaged, also
    gets 201 here, and the pipeline skips it. Check on the device that the recorder closed the file.
    """
    state = await get_state(request)
    await limit_address(request)
    device = await _authenticate(request, state)
    clip = _read_clip(request, state, device)
    is_held = clip.contributor not in state.recent_consents and await run_in_threadpool(find_held_clip, state, clip)
    if not is_held:
        state.recent_consents[clip.contributor] = True
        limits = state.settings.service.uploads
        folder = get_incoming_folder(state.settings)
        body = await receive_body(request, folder, limits.largest_clip_bytes, limits.body_timeout_s)
        try:
            charge_bytes(state, device, body.size_bytes)
            is_held = not await run_in_threadpool(keep_clip, state, clip, body.content)
        finally:
            body.discard()
    receipt = ClipReceipt(id=clip.sent_id, status="held" if is_held else "stored")
    status = HTTPStatus.OK if is_held else HTTPStatus.CREATED
    return Response(receipt.model_dump_json(), status, media_type="application/json")


def _read_clip(request: Request, state: ServiceState, device: Device) -> NewClip:
    sent = read_parameters(request, ClipParameters)
    return NewClip(
        sent_id=sent.clip_id,
        sha256=read_content_digest(request).hex(),
        device_id=device.device_id,
        contributor=sent.habla_contributor,
        session=sent.habla_session,
        recorded_at=sent.habla_recorded_at,
        received_at=state.read_clock(),
    )


async def _authenticate(request: Request, state: ServiceState) -> Device:
    credentials = await BEARER(request)
    token = None if credentials is None else credentials.credentials
    device = state.recent_devices.get(token)
    if device is None:
        device = await run_in_threadpool(get_current_device, request, state, credentials)
        state.recent_devices[token] = device
    else:
        limit_device(state, device)
    return device


def find_held_clip(state: ServiceState, clip: NewClip) -> bool:
    """Return whether the clip is held already; raises `ProblemError` if it cannot be kept, before its body is read."""
    with _answer_refusals():
        with state.database.read() as connection:
            is_held = is_clip_held(connection, clip, state.settings.consent)
        if not is_held and _is_refused_by_register(state, clip):
            raise ConsentMissingError("the contributor has no standing consent; ask the person who keeps the consents")
    return is_held


def keep_clip(state: ServiceState, clip: NewClip, content: bytes | FilePath) -> bool:
    """Keep the received bytes; return whether they are new, or raise `ProblemError`."""
    if _is_refused_by_register(state, clip):
        return not find_held_clip(state, clip)
    with _answer_refusals():
        return state.clip_receiver.receive(clip, content)


def _is_refused_by_register(state: ServiceState, clip: NewClip) -> bool:
    return read_clip_check(state, clip.device_id)(clip.clip_id, clip.contributor, clip.session)


@contextmanager
def _answer_refusals() -> Iterator[None]:
    try:
        yield
    except DeviceRevokedError:
        raise make_unauthenticated_error() from None
    except tuple(_REFUSALS) as error:
        raise ProblemError(_REFUSALS[type(error)], str(error)) from None
