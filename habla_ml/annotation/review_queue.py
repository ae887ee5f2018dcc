"""The stored review queue: the segments that a person is to look at next, and all that were ever selected.

A segment that was selected for its uncertainty is no random sample of the speech, so it is never used for validation
or test; the lake keeps the ids of these segments. Segments drawn at random can be used. The lake also keeps each
review request with its broken rules and time: a person who then leaves the text unchanged has confirmed it.

A shown text pulls the transcript towards the model that wrote it. Random segments of held-out sessions are therefore
issued without a text. The lake keeps these blind requests with their times, so that an annotation is known to be blind
from the queue rather than from what a page or a table claims.

A queue also plans the split of each session that has no text yet, so that it selects uncertain segments from sessions
that will be train. `corpus.planned_splits` keeps the plan.

The ids of the selected segments are a JSON list, and from `MAX_LISTED_SEGMENTS` on a table to which a queue adds its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from habla_ml.errors import CorpusError
from habla_ml.lake import Lake, Pointer, catalogue, compute_digest
from habla_ml.lake.shards import append_rows, is_table, iterate_batches

FORMAT: Final = "habla_ml.review/1"
MAX_LISTED_SEGMENTS: Final = 10_000
CHOSEN_SCHEMA: Final = pa.schema([("segment_id", pa.string())])
BLIND_PREFIX: Final = "blind-"
"""In front of the key of a blind request in a table; tables of earlier versions have the key alone."""


@dataclass(frozen=True)
class ReviewRequest:
    """A request to look again at a segment whose text breaks rules of the conventions."""

    attempt: int
    """1 for the first request; a changed text, or changed conventions, give the next one."""
    rules: tuple[str, ...]
    """Requirements of the conventions that the text breaks."""
    conventions_digest: str
    text_digest: str
    """Of the text as typed."""


@dataclass(frozen=True)
class IssuedReviewRequest:
    """A review request with its time."""

    issued_at: datetime
    request: ReviewRequest


@dataclass(frozen=True)
class BlindRequest:
    """A request to transcribe a segment without a text."""

    segment_id: str
    issued_at: datetime

    @property
    def task(self) -> str:
        """The key by which a table says that its row is the answer to this request."""
        return compute_digest(["habla_ml.blind/1", self.segment_id, self.issued_at.astimezone(UTC).isoformat()])[:16]


@dataclass(frozen=True)
class ReviewItem:
    """One segment to look at, and why."""

    segment_id: str
    session_id: str
    day: str
    speaker: str
    duration_s: float
    hint: str
    """The text that the person sees: the machine's, or for a review request the one that was typed. Empty for a blind
    segment."""
    model_version: str
    """The model version of that text; `habla` for Habla's own, empty for a person's."""
    score: float
    """Rank value; larger is more urgent. 0 for a random segment."""
    reasons: tuple[str, ...]
    """Why it was selected, each as `kind: details`."""
    is_random: bool
    """Drawn at random: can be used for validation or test."""
    request: ReviewRequest | None = None
    """Set where the segment has a text already; its split stays."""
    blind_people: int = 0
    """Number of people who transcribe it without a text; 0 where the text is shown."""
    split: str = ""
    """Split of its session when the queue was made; empty in queues from before it was recorded."""

    @property
    def is_blind(self) -> bool:
        """Whether no text is shown."""
        return self.blind_people > 0

    @property
    def purpose(self) -> str:
        """What its minutes are for."""
        if self.is_sent_back:
            return "sent back"
        if not self.is_random:
            return "uncertain"
        return "random, blind" if self.is_blind else "random, with a text"

    @property
    def work_s(self) -> float:
        """Seconds of audio that people listen to; twice the duration for two people."""
        return self.duration_s * max(1, self.blind_people)

    @property
    def is_sent_back(self) -> bool:
        """Whether a person has annotated it already."""
        return self.request is not None

    @property
    def attempt(self) -> int:
        """Number of the review request; 0 for a first look."""
        return 0 if self.request is None else self.request.attempt


@dataclass(frozen=True)
class ReviewQueue:
    """A published queue."""

    id: str
    """Object id of the queue."""
    made_at: datetime
    items: tuple[ReviewItem, ...]

    @property
    def minutes(self) -> float:
        """Minutes of audio to listen to; a segment for two people counts twice."""
        return sum(each.work_s for each in self.items) / 60


def save_queue(
    lake: Lake, items: Iterable[ReviewItem], made_at: datetime, planned: Mapping[str, str] | None = None
) -> ReviewQueue:
    """Publish a queue, and record the segments it selected, its review and blind requests, and the planned splits.

    `planned` is session → split and replaces the earlier plan; None keeps it. Raises
    `PointerMovedError` if another process published a queue at the same time. Run again.
    """
    pointer = lake.read_pointer(catalogue.REVIEW_QUEUE)
    listed, moment = tuple(items), made_at.astimezone(UTC).isoformat()
    uncertain = {each.segment_id for each in listed if not (each.is_random or each.is_sent_back)}
    earlier = [] if pointer is None else lake.get_json(pointer.value["sent_back"])
    issued = {(row["segment_id"], row["objection"]["round"]) for row in earlier}
    # Each row has its segment's id at the top level: an erasure finds it by that.
    new_requests = [
        {"segment_id": each.segment_id, "asked_at": moment, "objection": _format_request(each.request)}
        for each in listed
        if each.request is not None and (each.segment_id, each.attempt) not in issued
    ]
    known_blind = _read_blind_rows(lake, pointer)
    blind_ids = {row["segment_id"] for row in known_blind}
    new_blind = [
        {"segment_id": each.segment_id, "issued_at": moment}
        for each in listed
        if each.is_blind and each.segment_id not in blind_ids
    ]
    body = {"format": FORMAT, "made_at": moment, "items": [_format_item(each) for each in listed]}
    value = {
        "queue": lake.put_json(body),
        "chosen": _store_chosen(lake, uncertain, pointer),
        "sent_back": lake.put_json([*earlier, *new_requests]),
        "blind": lake.put_json([*known_blind, *new_blind]),
        "planned": lake.put_json(dict(sorted((load_planned_splits(lake) if planned is None else planned).items()))),
    }
    lake.move_pointer(catalogue.REVIEW_QUEUE, value, pointer)
    return _read_queue(lake, value["queue"])


def load_queue(lake: Lake) -> ReviewQueue | None:
    """Return the newest queue, or None."""
    pointer = lake.read_pointer(catalogue.REVIEW_QUEUE)
    return None if pointer is None else _read_queue(lake, pointer.value["queue"])


def iterate_chosen_segments(lake: Lake) -> Iterator[pa.RecordBatch]:
    """Yield the ids of all segments that any queue selected for a reason other than chance, as `CHOSEN_SCHEMA`."""
    pointer = lake.read_pointer(catalogue.REVIEW_QUEUE)
    yield from () if pointer is None else _iterate_chosen(lake, pointer.value["chosen"])


def load_planned_splits(lake: Lake) -> dict[str, str]:
    """Return session → the split that a queue planned for it."""
    pointer = lake.read_pointer(catalogue.REVIEW_QUEUE)
    stored = None if pointer is None else pointer.value.get("planned")
    planned: dict[str, str] = {} if stored is None else lake.get_json(stored)
    return planned


def load_blind_requests(lake: Lake) -> dict[str, BlindRequest]:
    """Return segment → the request that issued it without a text, for all that any queue issued so."""
    rows = _read_blind_rows(lake, lake.read_pointer(catalogue.REVIEW_QUEUE))
    return {
        row["segment_id"]: BlindRequest(row["segment_id"], datetime.fromisoformat(row["issued_at"])) for row in rows
    }


def load_review_requests(lake: Lake) -> dict[str, tuple[IssuedReviewRequest, ...]]:
    """Return segment → its review requests in their order."""
    pointer = lake.read_pointer(catalogue.REVIEW_QUEUE)
    found: dict[str, tuple[IssuedReviewRequest, ...]] = {}
    for row in () if pointer is None else lake.get_json(pointer.value["sent_back"]):
        issued = IssuedReviewRequest(datetime.fromisoformat(row["asked_at"]), _parse_request(row["objection"]))
        found[row["segment_id"]] = (*found.get(row["segment_id"], ()), issued)
    return found


def _iterate_chosen(lake: Lake, chosen: str) -> Iterator[pa.RecordBatch]:
    if is_table(lake, chosen):
        yield from iterate_batches(lake, chosen, CHOSEN_SCHEMA.names)
    else:
        yield pa.record_batch([pa.array(lake.get_json(chosen), pa.string())], schema=CHOSEN_SCHEMA)


def _store_chosen(lake: Lake, selected: Iterable[str], pointer: Pointer | None) -> str:
    """Return the object id of the segments that earlier queues or this one selected as uncertain."""
    before = None if pointer is None else pointer.value["chosen"]
    new, listed = set(selected), list[str]()
    for batch in () if before is None else _iterate_chosen(lake, before):
        new.difference_update(known := batch["segment_id"].to_pylist())
        listed += known[: MAX_LISTED_SEGMENTS + 1 - len(listed)]
    if len(listed) + len(new) <= MAX_LISTED_SEGMENTS:
        return lake.put_json(sorted({*listed, *new}))
    if before is None or not is_table(lake, before):
        before, new = None, {*listed, *new}
    rows = pa.table([pa.array(sorted(new), pa.string())], schema=CHOSEN_SCHEMA)
    return append_rows(lake, before, rows, "segment_id") if before is None or new else before


def _read_blind_rows(lake: Lake, pointer: Pointer | None) -> list[dict[str, str]]:
    """Return the rows of all blind requests; queues from before them have none."""
    stored = None if pointer is None else pointer.value.get("blind")
    rows: list[dict[str, str]] = [] if stored is None else lake.get_json(stored)
    return rows


def _format_request(request: ReviewRequest) -> dict[str, Any]:
    body = asdict(request)
    return {"round": body.pop("attempt"), **body}


def _parse_request(body: Mapping[str, Any]) -> ReviewRequest:
    return ReviewRequest(body["round"], tuple(body["rules"]), body["conventions_digest"], body["text_digest"])


def _format_item(item: ReviewItem) -> dict[str, Any]:
    objection = None if item.request is None else _format_request(item.request)
    return {**{key: each for key, each in vars(item).items() if key != "request"}, "objection": objection}


def _parse_item(body: Mapping[str, Any]) -> ReviewItem:
    fields = {**body, "reasons": tuple(body["reasons"])}
    request = fields.pop("objection")
    return ReviewItem(**fields, request=None if request is None else _parse_request(request))


def _read_queue(lake: Lake, queue: str) -> ReviewQueue:
    body: Any = lake.get_json(queue)
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise CorpusError(f"object {queue} is no review queue of format {FORMAT}; materialise `review_queue` again")
    return ReviewQueue(queue, datetime.fromisoformat(body["made_at"]), tuple(map(_parse_item, body["items"])))
