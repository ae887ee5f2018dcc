"""Receive data points: corrections of clips, many in one request, with a result each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from habla_ml.damaged_text import is_blank
from habla_ml.inbox.data_points import DataPointOutcome, NewDataPoint, receive_data_points
from habla_ml.service.access import CurrentDevice
from habla_ml.service.api.fields import UUID_PATTERN, Moment, PlainText, Uuid
from habla_ml.service.problems import (
    CLIP_MISSING,
    CONFLICT,
    ERASED,
    INVALID,
    NO_CONSENT,
    TOO_LARGE,
    Problem,
    ProblemError,
    describe_problems,
    describe_wrong_value,
    make_printable,
)
from habla_ml.service.register_check import read_clip_check
from habla_ml.service.state import ServiceState, State

router = APIRouter(tags=["uploads"])
_LONGEST_DETAIL: Final = 1_000
ItemStatus = Literal["accepted", "duplicate", "rejected", "conflict"]


class DataPoint(BaseModel):
    """What a person made of one clip. A newer correction of the same clip is a new data point with its own id."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: Annotated[Uuid, Field(description="A random UUID in lower case that the device chose for this data point.")]
    recordingItemID: Annotated[Uuid, Field(description="The `clip_id` of the clip.")]  # noqa: N815
    correctedTranscription: Annotated[PlainText, Field(description="As typed; empty only if unusable.")]  # noqa: N815
    timestamp: Annotated[Moment, Field(description="When the person decided, RFC 3339 with a zone.")]
    status: Annotated[
        Literal["corrected", "confirmed", "unusable"],
        Field(description="`confirmed`: the seen text is right. `unusable`: no text can be written."),
    ] = "corrected"
    reason: Annotated[PlainText, Field(max_length=200, description="Why the clip is unusable.")] = ""
    language: Annotated[
        str,
        Field(
            pattern=r"^([A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8}){0,2})?$",
            max_length=20,
            description="Of the speech, BCP 47.",
            examples=["es-ES"],
        ),
    ] = ""
    appVersion: Annotated[PlainText, Field(max_length=50, examples=["1.4.0"])] = ""  # noqa: N815
    modelVersion: Annotated[  # noqa: N815
        PlainText,
        Field(
            max_length=50,
            description="The model whose text the person saw: `modelVersion` of `/latest-model-info`.",
            examples=["v3"],
        ),
    ] = ""
    seenText: Annotated[PlainText | None, Field(description="The text that the person saw; null if none.")] = None  # noqa: N815

    @model_validator(mode="after")
    def _require_text(self) -> Self:
        if self.status != "unusable" and is_blank(self.correctedTranscription):
            raise ValueError("correctedTranscription is empty; send the text, or the status unusable")
        return self

    def convert(self) -> NewDataPoint:
        """Return the data point as the inbox keeps it."""
        return NewDataPoint(
            data_point_id=self.id,
            sent_clip_id=self.recordingItemID,
            text=self.correctedTranscription,
            status=self.status,
            reason=self.reason,
            corrected_at=self.timestamp,
            language=self.language,
            app_version=self.appVersion,
            model_version=self.modelVersion,
            seen_text=self.seenText,
        )


class Batch(BaseModel):
    """Data points of one device. A wrong item is rejected alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: list[Annotated[Any, Field(json_schema_extra={"anyOf": [DataPoint.model_json_schema(), {}]})]]


class ItemResult(BaseModel):
    """What became of one item. Only `accepted` and `duplicate` are kept durably."""

    model_config = ConfigDict(frozen=True)

    index: Annotated[int, Field(ge=0, description="Place of the item in the request.")]
    id: Annotated[str | None, Field(description="Id of the data point; null if the item has none.")]
    status: Annotated[
        ItemStatus,
        Field(
            description="`accepted`, `duplicate`: kept, forget the item. `conflict`: send it under a new id. `rejected`: send "
            "it again later if `retryable`, else correct it or give it up."
        ),
    ]
    type: Annotated[
        str | None, Field(description="`type` of the problem; null if kept.", examples=["/problems/clip-missing"])
    ] = None
    detail: Annotated[str | None, Field(description="What is wrong and the next step; null if kept.")] = None
    retryable: Annotated[bool, Field(description="Whether the same item can succeed later.")] = False


class BatchResult(BaseModel):
    """The results, in the order of the items."""

    model_config = ConfigDict(frozen=True)

    results: list[ItemResult]


_FAULTS: Final[dict[DataPointOutcome, tuple[ItemStatus, Problem, str]]] = {
    DataPointOutcome.CONFLICT: ("conflict", CONFLICT, "the id is used for other content; send this under a new id"),
    DataPointOutcome.CLIP_MISSING: ("rejected", CLIP_MISSING, "send the clip first, then this item again"),
    DataPointOutcome.CLIP_ERASED: ("rejected", ERASED, "the clip was erased; delete it on the device too"),
    DataPointOutcome.NO_CONSENT: ("rejected", NO_CONSENT, "the contributor has no standing consent; record one first"),
}


@router.post(
    "/upload-training-data",
    summary="Send corrections (second address)",
    operation_id="upload_training_data",
    response_description="A result for each item",
    responses=describe_problems(TOO_LARGE),
)
@router.post(
    "/v1/batches",
    summary="Send corrections",
    response_description="A result for each item",
    responses=describe_problems(TOO_LARGE),
)
def post_batch(batch: Batch, state: State, device: CurrentDevice) -> BatchResult:
    """Store corrections of clips, each by itself. The same items again are duplicates, so repeat a lost batch.

    The answer is 200 even if items are wrong: read the result of each. `/v1/batches` and `/upload-training-data` are the
    same. Send a clip before its items: where consents are required, an item without its clip is rejected as
    `/problems/clip-missing`, which is retryable.
    """
    most = state.settings.service.uploads.most_items_per_batch
    if len(batch.items) > most:
        raise ProblemError(TOO_LARGE, f"the batch has {len(batch.items)} items; send {most} at most")
    return BatchResult(results=receive_items(state, device.device_id, batch.items))


def receive_items(state: ServiceState, device_id: str, items: Sequence[Any]) -> list[ItemResult]:
    """Keep the items that are data points; return the result of each item."""
    checked = [_check_item(index, item) for index, item in enumerate(items)]
    points = {index: each for index, each in enumerate(checked) if isinstance(each, DataPoint)}
    sent = [each.convert() for each in points.values()]
    # The register is read before the transaction begins, in which the other writers wait.
    is_refused = read_clip_check(state, device_id)
    outcomes = receive_data_points(
        state.database, device_id, sent, state.read_clock(), state.settings.consent, is_refused
    )
    results = {index: each for index, each in enumerate(checked) if isinstance(each, ItemResult)}
    for (index, point), outcome in zip(points.items(), outcomes, strict=True):
        results[index] = _build_result(index, point, outcome)
    return [results[index] for index in range(len(items))]


def _check_item(index: int, item: Any) -> DataPoint | ItemResult:
    try:
        return DataPoint.model_validate(item)
    except ValidationError as error:
        faults = [
            ": ".join(filter(None, (".".join(map(str, each["loc"])), describe_wrong_value(each))))
            for each in error.errors()[:5]
        ]
    detail = make_printable("; ".join(faults))[:_LONGEST_DETAIL]
    return ItemResult(index=index, id=_find_id(item), status="rejected", type=INVALID.type, detail=detail)


def _find_id(item: Any) -> str | None:
    found = item.get("id") if isinstance(item, dict) else None
    return found if isinstance(found, str) and re.fullmatch(UUID_PATTERN, found) else None


def _build_result(index: int, point: DataPoint, outcome: DataPointOutcome) -> ItemResult:
    if outcome in _FAULTS:
        status, problem, detail = _FAULTS[outcome]
        return ItemResult(
            index=index, id=point.id, status=status, type=problem.type, detail=detail, retryable=problem.retryable
        )
    return ItemResult(index=index, id=point.id, status="duplicate" if outcome == "duplicate" else "accepted")
