"""The review queue as it is kept: which segments a person should look at next, and which were ever chosen so.

Segments chosen for being uncertain are no sample of what is spoken, so they never serve as validation or test; the
lake remembers them for ever. The share that was drawn at random may.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
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
    """Words for a person: why it is here, each as `kind: particulars`."""
    is_random: bool
    """Drawn at random: may become validation or test."""
    is_sent_back: bool = False
    """It has a person's word already, with which something is wrong; that says nothing about its split."""


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
    uncertain = {each.segment_id for each in listed if not (each.is_random or each.is_sent_back)}
    chosen = uncertain | chosen_segments(lake)
    value = {"queue": lake.put_json(_body(listed, made_at)), "chosen": lake.put_json(sorted(chosen))}
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


def forget_segments(lake: Lake, segment_ids: Collection[str]) -> int:
    """Take erased segments out of the newest queue and out of what is remembered; returns how many items went.

    Earlier queues are no longer named by any pointer.

    Raises:
        PointerMovedError: somebody else published a queue in the meantime; run again.
    """
    pointer, queue = lake.pointer(QUEUE_POINTER), load_queue(lake)
    if pointer is None or queue is None:
        return 0
    kept = [each for each in queue.items if each.segment_id not in segment_ids]
    value = {
        "queue": lake.put_json(_body(kept, queue.made_at)),
        "chosen": lake.put_json(sorted(chosen_segments(lake).difference(segment_ids))),
    }
    lake.move_pointer(QUEUE_POINTER, value, pointer)
    return len(queue.items) - len(kept)


def _body(items: Iterable[ReviewItem], made_at: datetime) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "made_at": made_at.astimezone(UTC).isoformat(),
        "items": [{**asdict(each), "reasons": list(each.reasons)} for each in items],
    }


def _read(lake: Lake, queue: str) -> ReviewQueue:
    body: Any = lake.get_json(queue)
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise CorpusError(
            f"object {queue} is no review queue of format {FORMAT}; materialise `review_queue` again"
        )
    items = tuple(ReviewItem(**{**each, "reasons": tuple(each["reasons"])}) for each in body["items"])
    return ReviewQueue(queue, datetime.fromisoformat(body["made_at"]), items)
