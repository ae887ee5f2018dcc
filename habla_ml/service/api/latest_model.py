"""The model that an app should have. Needs no token: the same JSON is a public file of the CDN."""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Response

from habla_ml.client.updates import APP_VERSION_PATTERN, is_app_new_enough
from habla_ml.lake import to_canonical_json
from habla_ml.release.manifest import Label
from habla_ml.release.model_info import ModelInfo
from habla_ml.service.problems import NOT_FOUND, ProblemError, describe_problems
from habla_ml.service.state import ServiceState, State

router = APIRouter(tags=["models"])
_CACHE_CONTROL: Final = "public, max-age=60"
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    **describe_problems(NOT_FOUND),
    HTTPStatus.NO_CONTENT: {"description": "Nothing to install: the app has this version, or is too old for it"},
    HTTPStatus.NOT_MODIFIED: {"description": "The answer with this ETag is still right"},
    HTTPStatus.OK: {
        "headers": {"ETag": {"description": "Send it as `If-None-Match` next time.", "schema": {"type": "string"}}}
    },
}


@router.get(
    "/latest-model-info",
    summary="Read the latest model",
    response_model=ModelInfo,
    response_description="The model of the channel",
    responses=_RESPONSES,
)
def read_latest_model(
    state: State,
    platform: Annotated[
        Label, Query(description="`ios`: Core ML for WhisperKit. `habla`: CTranslate2 for faster-whisper.")
    ],
    channel: Annotated[
        Label | None, Query(description="Such as `stable`. Without it, the deployment's channel.")
    ] = None,
    app_version: Annotated[
        str | None,
        Query(
            pattern=APP_VERSION_PATTERN,
            description="Version of the app, such as 1.4.0. One below `minimumAppVersion` gets 204.",
        ),
    ] = None,
    current: Annotated[
        str | None, Query(max_length=50, description="`version` of the model that the app has. The same one gets 204.")
    ] = None,
    if_none_match: Annotated[
        str | None, Header(max_length=1_000, description="`ETag` of the answer that the app has.")
    ] = None,
) -> Response:
    """Return the model of a channel, with address and digest. Needs no token.

    404 means that the channel has no release for the platform yet: go on with the model of the app, and ask again in a day.
    Before an installation, verify `signed` with the keys that the app carries: `text` is the channel's state as JSON. A
    signature is Ed25519 over `habla_ml.channel/2`, a line feed and the text. Install only the archive that this state has
    for the platform, with its size and SHA-256.
    """
    info = find_latest_model(state, platform, channel or state.settings.release.channel)
    data = to_canonical_json(info.model_dump(mode="json"))
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": _CACHE_CONTROL}
    is_too_old = app_version is not None and not is_app_new_enough(app_version, info.minimumAppVersion)
    if current == info.version or is_too_old:
        return Response(status_code=HTTPStatus.NO_CONTENT, headers={"Cache-Control": _CACHE_CONTROL})
    if if_none_match is not None and has_tag(if_none_match, tag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(data, media_type="application/json", headers=headers)


def find_latest_model(state: ServiceState, platform: str, channel: str) -> ModelInfo:
    """Return the model of a channel for a platform, or raise `ProblemError`."""
    found = state.model_infos.read(channel, state.read_clock())
    if platform not in found:
        raise ProblemError(NOT_FOUND, "no such platform or channel has a release; check both, or ask again later")
    return found[platform]


def has_tag(header: str, tag: str) -> bool:
    """Return whether an `If-None-Match` header names the tag (RFC 9110 section 13.1.2: weak comparison)."""
    return any(each.strip().removeprefix("W/") in (tag, "*") for each in header.split(","))
