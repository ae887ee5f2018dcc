"""What is held of a contributor and which model versions used it, and a copy of all of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from habla_ml.consent.tombstones import read_tombstones
from habla_ml.erasure.contributor_data import ContributorData, find_affected_versions
from habla_ml.erasure.table_index import load_index
from habla_ml.inbox.consents import RecordedConsent, choose_standing_consent, is_managed_by, read_consents
from habla_ml.inbox.contributor_archive import stream_archive, summarise_contributor
from habla_ml.inbox.devices import Device
from habla_ml.names import canonical_name
from habla_ml.service.access import CurrentDevice
from habla_ml.service.api.fields import Pseudonym
from habla_ml.service.problems import NOT_FOUND, ProblemError, describe_problems
from habla_ml.service.register_check import is_refused_contributor
from habla_ml.service.state import ServiceState, State

router = APIRouter(prefix="/v1/contributors", tags=["consents"])

ContributorName = Annotated[
    Pseudonym, Path(description="The pseudonym of a consent of this device, percent-encoded.", examples=["c-017"])
]


class HeldData(BaseModel):
    """What is held of a contributor now, and what was erased."""

    model_config = ConfigDict(frozen=True)

    contributor: str
    stands: Annotated[bool, Field(description="Whether a consent stands, so that clips are accepted.")]
    clips: Annotated[int, Field(description="Number of received clips.")]
    bytes: Annotated[int, Field(description="Size of these clips.")]
    corrections: int
    segments: Annotated[int, Field(description="Number of clips that are part of the training recordings.")]
    erasedSegments: Annotated[int, Field(description="Number of those that were erased.")]  # noqa: N815 (a name of the wire)
    trainedVersions: Annotated[list[str], Field(description="Model versions trained on the voice, erased or not.")]  # noqa: N815
    testedVersions: Annotated[list[str], Field(description="Model versions selected or scored with it.")]  # noqa: N815


@router.get(
    "/{contributor}",
    summary="Read what is held of a contributor",
    response_description="What is held now, and what was erased",
    responses=describe_problems(NOT_FOUND),
)
def read_contributor(contributor: ContributorName, state: State, device: CurrentDevice) -> HeldData:
    """Return what is held of a contributor of this device, and which models used the voice.

    It reads the data of every model version, so call it when the person asks.
    """
    return describe_contributor(state, contributor, _find_managed(state, device, contributor))


@router.get(
    "/{contributor}/export",
    summary="Export what is held of a contributor",
    response_class=StreamingResponse,
    response_description="The archive, as a stream",
    responses={
        **describe_problems(NOT_FOUND),
        200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}},
    },
)
def export_contributor(contributor: ContributorName, state: State, device: CurrentDevice) -> StreamingResponse:
    """Return a ZIP archive with all clips, texts and consents of the contributor."""
    consents = _find_managed(state, device, contributor)
    chunks = stream_archive(state.database, state.inbox, canonical_name(contributor), consents)
    headers = {"Content-Disposition": 'attachment; filename="export.zip"', "Cache-Control": "no-store"}
    return StreamingResponse(chunks, media_type="application/zip", headers=headers)


def describe_contributor(state: ServiceState, contributor: str, consents: list[RecordedConsent]) -> HeldData:
    """Return what is held of a contributor who has these consents."""
    held = summarise_contributor(state.database, canonical_name(contributor))
    data = ContributorData(dict.fromkeys(held.segment_ids, 0.0), frozenset(), {}, (), frozenset())
    used = find_affected_versions(state.lake, data, load_index(state.lake)) if held.segment_ids else None
    erasures = read_tombstones(state.lake).find_erasures(contributor)
    trained = {version for each in (used, *erasures) if each for version in each.trained}
    tested = {version for each in (used, *erasures) if each for version in each.evaluated}
    is_recorded = choose_standing_consent(consents, state.settings.consent.oldest_version) is not None
    return HeldData(
        contributor=consents[0].contributor,
        stands=is_recorded and not is_refused_contributor(state, contributor),
        clips=held.clips,
        bytes=held.size_bytes,
        corrections=held.corrections,
        segments=len(held.segment_ids),
        erasedSegments=sum(each.segments for each in erasures),
        trainedVersions=sorted(trained),
        testedVersions=sorted(tested),
    )


def _find_managed(state: ServiceState, device: Device, contributor: str) -> list[RecordedConsent]:
    """Return the consents of a contributor; an unknown one and one of another device have the same answer."""
    with state.database.read() as connection:
        consents = read_consents(connection, contributor)
    if not is_managed_by(consents, device.device_id):
        raise ProblemError(NOT_FOUND, "the device recorded no consent of this contributor")
    return consents
