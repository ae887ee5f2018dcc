"""The review queue as it is kept: which segments a person should look at next, and which were ever chosen so.

Segments chosen for being uncertain are no sample of what is spoken, so they never serve as validation or test; the
lake remembers them for ever. The share that was drawn at random may.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from habla_ml.errors import CorpusError
from habla_ml.lake import Lake

QUEUE_POINTER: Final = "review/latest"
FORMAT: Final = "habla_ml.review/1"


@dataclass(frozen=True)
class ReviewItem:
    """One segment to be looked at, and why."""

    segment_id: str
    session_id: str
    day: str
    speaker: str
    duration_s: float
    hint: str
    """The machine's text that the person is shown; empty where nothing was heard."""
    model_version: str
    """The model version whose text that is; `habla` where the recordings brought it."""
    score: float
    """What the ranking goes by; larger is more urgent. 0 for a random one."""
    reasons: tuple[str, ...]
    """Words for a person: why it is here."""
    is_random: bool
    """Drawn at random: may become validation or test."""


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
    """Publish a queue and remember its chosen segments; the same queue is the same object.

    Raises:
        PointerMovedError: somebody else published a queue in the meantime; run again.
    """
    pointer = lake.pointer(QUEUE_POINTER)
    listed = tuple(items)
    chosen = {each.segment_id for each in listed if not each.is_random} | chosen_segments(lake)
    body = {
        "format": FORMAT,
        "made_at": made_at.astimezone(UTC).isoformat(),
        "items": [{**asdict(each), "reasons": list(each.reasons)} for each in listed],
    }
    value = {"queue": lake.put_json(body), "chosen": lake.put_json(sorted(chosen))}
    lake.move_pointer(QUEUE_POINTER, value, pointer)
    return _read(lake, value["queue"])


def load_queue(lake: Lake) -> ReviewQueue | None:
    """The newest queue, or None where there was none yet."""
    pointer = lake.pointer(QUEUE_POINTER)
    return None if pointer is None else _read(lake, pointer.value["queue"])


def chosen_segments(lake: Lake) -> frozenset[str]:
    """Ids of all segments that any queue chose for a reason other than chance."""
    pointer = lake.pointer(QUEUE_POINTER)
    return frozenset() if pointer is None else frozenset(lake.get_json(pointer.value["chosen"]))


def _read(lake: Lake, queue: str) -> ReviewQueue:
    body: Any = lake.get_json(queue)
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise CorpusError(
            f"object {queue} is no review queue of format {FORMAT}; materialise `review_queue` again"
        )
    items = tuple(ReviewItem(**{**each, "reasons": tuple(each["reasons"])}) for each in body["items"])
    return ReviewQueue(queue, datetime.fromisoformat(body["made_at"]), items)
