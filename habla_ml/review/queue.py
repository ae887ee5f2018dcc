"""From the lake to the week's queue: gather, hear, rank, choose, publish."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from habla_ml.annotation.review import (
    Objection,
    ReviewItem,
    ReviewQueue,
    SendingBack,
    load_queue,
    save_queue,
    sendings_back,
)
from habla_ml.corpus.violations import ViolatingSegment, violating_segments
from habla_ml.lake import Lake, Store, digest_of
from habla_ml.review.candidates import Candidate, find_segments, gather_pool
from habla_ml.review.hearing import hear, released_models
from habla_ml.review.selection import (
    Considered,
    SentBack,
    choose,
    draw_random,
    interleave,
    rank,
    send_back,
)
from habla_ml.settings import Settings

_MOST_SENT_BACK: Final = 1000


@dataclass(frozen=True)
class MadeQueue:
    """A queue and what it was chosen from."""

    queue: ReviewQueue
    candidates: int
    """Segments without a person's word."""
    candidate_hours: float
    considered: int
    """How many of them were looked at closely."""
    decoded: int
    """Clips that had to be decoded for it."""
    model_version: str
    """The released model that listened; empty where none was released yet."""


def make_queue(
    lake: Lake,
    store: Store,
    settings: Settings,
    now: datetime,
    progress: Callable[[str], None],
    sent_back: Sequence[SentBack] = (),
) -> MadeQueue:
    """Choose this week's segments and publish them; the same choice again publishes nothing.

    The random share is drawn first, from all candidates: chance must not be left with what the ranking did not want.

    Args:
        lake: recordings, events, hypotheses, and where the queue is published.
        store: the release store, whose channel names the model that listens.
        settings: the budget (`review`), and how evaluations decode.
        now: aware; its ISO week in the zone of the settings seeds the random draw.
        progress: told a line now and then.
        sent_back: segments with a person's word that are asked for again; they come first.

    Raises:
        CorpusError: recordings and their facts do not agree.
        EvaluationError: the released model cannot be run.
        PointerMovedError: somebody else published a queue in the meantime; run again.
    """
    review = settings.review
    pool = gather_pool(lake, settings, week_of(now.astimezone(settings.zone)))
    progress(f"{pool.candidates} segments without a person's word, {len(pool.members)} of them looked at closely")
    models = released_models(lake, store, settings.release.channel)
    hearing = hear(lake, pool.members, models, settings, progress)
    known = {each.segment_id: Considered(each, hearing.by_segment.get(each.segment_id)) for each in pool.members}
    returned = send_back(_located(lake, sent_back), review.minutes * review.sent_back_share)
    drawn = draw_random([known[each.segment_id] for each in pool.drawn], review.minutes * review.random_share)
    chosen = choose(
        rank(list(known.values()), review, settings.evaluation.quiet_below_dbfs),
        review.minutes - _minutes(returned) - _minutes(drawn),
        review.most_segments_per_session,
        [known[each.segment_id] for each in drawn],
    )
    items = (*returned, *interleave(chosen, drawn))
    latest = load_queue(lake)
    unchanged = latest is not None and latest.items == items
    queue = latest if latest is not None and unchanged else save_queue(lake, items, now)
    return MadeQueue(
        queue=queue,
        candidates=pool.candidates,
        candidate_hours=pool.hours,
        considered=len(pool.members),
        decoded=hearing.decoded,
        model_version=models[0].version if models else "",
    )


def violations_sent_back(lake: Lake) -> list[SentBack]:
    """The first segments whose text breaks the conventions, to be asked for again; more than a queue ever takes.

    What a person confirmed after it was sent back is not asked for again, unless text or conventions changed.
    """
    sendings = sendings_back(lake)
    waiting = (each for each in violating_segments(lake) if each.unconfirmed)
    return [
        SentBack(each.segment_id, each.day, each.text, _objection(each, sendings.get(each.segment_id, ())))
        for each in islice(waiting, _MOST_SENT_BACK)
    ]


def _objection(violating: ViolatingSegment, sendings: Sequence[SendingBack]) -> Objection:
    """The one that it was sent back with and that nobody has answered, or that of its next round."""
    text_digest, broken = digest_of(violating.text), violating.unconfirmed
    for past in (each.objection for each in sendings):
        same = (past.conventions_digest, past.text_digest) == (violating.conventions_digest, text_digest)
        if same and set(broken) <= set(past.rules):
            return past
    return Objection(len(sendings) + 1, broken, violating.conventions_digest, text_digest)


def week_of(moment: datetime) -> str:
    """`2026-W07`: the ISO week in which `moment` lies."""
    year, week, _ = moment.isocalendar()
    return f"{year}-W{week:02}"


def _located(lake: Lake, sent_back: Sequence[SentBack]) -> list[tuple[SentBack, Candidate]]:
    by_day: dict[str, set[str]] = defaultdict(set)
    for each in sent_back:
        by_day[each.day].add(each.segment_id)
    found = find_segments(lake, {day: frozenset(wanted) for day, wanted in by_day.items()})
    return [(each, found[each.segment_id]) for each in sent_back if each.segment_id in found]


def _minutes(items: Sequence[ReviewItem]) -> float:
    return sum(each.duration_s for each in items) / 60
