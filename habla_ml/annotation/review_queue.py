"""The review queue as it is kept: which segments a person should look at next, and which were ever chosen so.

Segments chosen for being uncertain are no sample of what is spoken, so they never serve as validation or test; the
lake remembers them for ever. The share that was drawn at random may. It remembers too which texts were sent back for
which broken rules, and when: a person who then leaves the text as it is has confirmed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from habla_ml.errors import CorpusError
from habla_ml.lake import Lake, catalogue

FORMAT: Final = "habla_ml.review/1"


@dataclass(frozen=True)
class ReviewRequest:
    """What a person's text is sent back for."""

    round: int
    """1 when the segment is sent back for the first time; a changed text, or changed conventions, make the next."""
    rules: tuple[str, ...]
    """Requirements of the conventions that the text breaks."""
    conventions_digest: str
    text_digest: str
    """Of the text as typed."""


@dataclass(frozen=True)
class IssuedReviewRequest:
    """One segment that was asked for again."""

    asked_at: datetime
    objection: ReviewRequest


@dataclass(frozen=True)
class ReviewItem:
    """One segment to be looked at, and why."""

    segment_id: str
    session_id: str
    day: str
    speaker: str
    duration_s: float
    hint: str
    """The text that the person is shown: the machine's, or what was typed where that is sent back."""
    model_version: str
    """The model version whose text that is; `habla` where the recordings brought it, empty where a person did."""
    score: float
    """What the ranking goes by; larger is more urgent. 0 for a random one."""
    reasons: tuple[str, ...]
    """Words for a person: why it is here, each as `kind: particulars`."""
    is_random: bool
    """Drawn at random: may become validation or test."""
    objection: ReviewRequest | None = None
    """What is wrong with the person's word that it has already; that says nothing about its split."""

    @property
    def is_sent_back(self) -> bool:
        """A person said something about it, and is asked again."""
        return self.objection is not None

    @property
    def round(self) -> int:
        """How often it was sent back; 0 for a first look."""
        return 0 if self.objection is None else self.objection.round


@dataclass(frozen=True)
class ReviewQueue:
    """A queue as it was published."""

    id: str
    """Object id of the queue."""
    made_at: datetime
    items: tuple[ReviewItem, ...]

    @property
    def minutes(self) -> float:
        """Minutes of audio in the queue."""
        return sum(each.duration_s for each in self.items) / 60


def save_queue(lake: Lake, items: Iterable[ReviewItem], made_at: datetime) -> ReviewQueue:
    """Publish a queue and remember what it chose and sent back; the same queue is the same object.

    Raises:
        PointerMovedError: somebody else published a queue in the meantime; run again.
    """
    pointer = lake.read_pointer(catalogue.REVIEW_QUEUE)
    listed, moment = tuple(items), made_at.astimezone(UTC).isoformat()
    uncertain = {each.segment_id for each in listed if not (each.is_random or each.is_sent_back)}
    body = {
        "format": FORMAT,
        "made_at": moment,
        "items": [{**asdict(each), "reasons": list(each.reasons)} for each in listed],
    }
    earlier = [] if pointer is None else lake.get_json(pointer.value["sent_back"])
    asked = {(row["segment_id"], row["objection"]["round"]) for row in earlier}
    # Each row has its segment's id by itself: an erasure finds it by that.
    now_asked = [
        {"segment_id": each.segment_id, "asked_at": moment, "objection": asdict(each.objection)}
        for each in listed
        if each.objection is not None and (each.segment_id, each.objection.round) not in asked
    ]
    value = {
        "queue": lake.put_json(body),
        "chosen": lake.put_json(sorted(uncertain | load_chosen_segment_ids(lake))),
        "sent_back": lake.put_json([*earlier, *now_asked]),
    }
    lake.move_pointer(catalogue.REVIEW_QUEUE, value, pointer)
    return _read_queue(lake, value["queue"])


def load_queue(lake: Lake) -> ReviewQueue | None:
    """The newest queue, or None where there was none yet."""
    pointer = lake.read_pointer(catalogue.REVIEW_QUEUE)
    return None if pointer is None else _read_queue(lake, pointer.value["queue"])


def load_chosen_segment_ids(lake: Lake) -> frozenset[str]:
    """Ids of all segments that any queue chose for a reason other than chance."""
    pointer = lake.read_pointer(catalogue.REVIEW_QUEUE)
    return frozenset() if pointer is None else frozenset(lake.get_json(pointer.value["chosen"]))


def load_review_requests(lake: Lake) -> dict[str, tuple[IssuedReviewRequest, ...]]:
    """Segment → each time it was sent back, in that order; only segments that ever were."""
    pointer = lake.read_pointer(catalogue.REVIEW_QUEUE)
    found: dict[str, tuple[IssuedReviewRequest, ...]] = {}
    for row in () if pointer is None else lake.get_json(pointer.value["sent_back"]):
        sending = IssuedReviewRequest(
            datetime.fromisoformat(row["asked_at"]), _parse_review_request(row["objection"])
        )
        found[row["segment_id"]] = (*found.get(row["segment_id"], ()), sending)
    return found


def _parse_review_request(body: Mapping[str, Any]) -> ReviewRequest:
    return ReviewRequest(**{**body, "rules": tuple(body["rules"])})


def _read_queue(lake: Lake, queue: str) -> ReviewQueue:
    body: Any = lake.get_json(queue)
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise CorpusError(
            f"object {queue} is no review queue of format {FORMAT}; materialise `review_queue` again"
        )
    return ReviewQueue(queue, datetime.fromisoformat(body["made_at"]), tuple(map(_parse_item, body["items"])))


def _parse_item(body: Mapping[str, Any]) -> ReviewItem:
    objection = None if body["objection"] is None else _parse_review_request(body["objection"])
    return ReviewItem(**{**body, "reasons": tuple(body["reasons"]), "objection": objection})
