"""The weekly review queue: collect candidates, decode, rank, choose and publish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from habla_ml.annotation.review_queue import (
    IssuedReviewRequest,
    ReviewItem,
    ReviewQueue,
    ReviewRequest,
    load_queue,
    load_review_requests,
    save_queue,
)
from habla_ml.corpus.violations import ViolatingSegment, find_violating_segments
from habla_ml.lake import Lake, Store, compute_digest
from habla_ml.review.candidates import find_segments, gather_pool
from habla_ml.review.model_hypotheses import decode_pool, find_released_models
from habla_ml.review.selection import (
    DecodedCandidate,
    SentBackSegment,
    choose_within_budget,
    draw_random,
    interleave,
    rank,
    select_sent_back,
)
from habla_ml.settings import Settings

_MOST_SENT_BACK: Final = 1000


@dataclass(frozen=True)
class ReviewQueueResult:
    """A queue and the candidates it was chosen from."""

    queue: ReviewQueue
    candidates: int
    """Segments without an annotation."""
    candidate_hours: float
    considered: int
    """How many of them were ranked."""
    decoded: int
    """Clips that were decoded for it."""
    model_version: str
    """The released model that transcribed them; empty before the first release."""


def make_queue(
    lake: Lake,
    store: Store,
    settings: Settings,
    now: datetime,
    progress: Callable[[str], None],
    sent_back: Sequence[SentBackSegment] = (),
) -> ReviewQueueResult:
    """Choose this week's segments and publish them; the same choice publishes nothing new.

    The random share is drawn first, from all candidates, so that it does not depend on the ranking. The ISO week of
    `now`, an aware time, seeds it. The segments in `sent_back` are reviewed again, first of all. The model is the
    current one on the channel of `store`.

    Raises:
        CorpusError: Recordings and their metadata do not agree.
        EvaluationError: The released model cannot run.
        PointerMovedError: Another process published a queue in the meantime; run again.
    """
    review = settings.review
    pool = gather_pool(lake, settings, format_iso_week(now.astimezone(settings.zone)))
    progress(f"{pool.candidates} segments without an annotation, {len(pool.members)} of them are ranked")
    models = find_released_models(lake, store, settings.release.channel)
    decoded = decode_pool(lake, pool.members, models, settings, progress)
    known = {each.segment_id: DecodedCandidate(each, decoded.by_segment.get(each.segment_id)) for each in pool.members}
    segments = find_segments(lake, [(each.day, each.segment_id) for each in sent_back])
    found = [(each, segments[each.segment_id]) for each in sent_back if each.segment_id in segments]
    returned = select_sent_back(found, review.minutes * review.sent_back_share)
    drawn = draw_random([known[each.segment_id] for each in pool.drawn], review.minutes * review.random_share)
    chosen = choose_within_budget(
        rank(list(known.values()), review, settings.evaluation.quiet_below_dbfs),
        review.minutes - _sum_minutes(returned) - _sum_minutes(drawn),
        review.most_segments_per_session,
        [known[each.segment_id] for each in drawn],
    )
    items = (*returned, *interleave(chosen, drawn))
    latest = load_queue(lake)
    return ReviewQueueResult(
        queue=latest if latest is not None and latest.items == items else save_queue(lake, items, now),
        candidates=pool.candidates,
        candidate_hours=pool.hours,
        considered=len(pool.members),
        decoded=decoded.decoded,
        model_version=models[0].version if models else "",
    )


def find_segments_to_send_back(lake: Lake) -> list[SentBackSegment]:
    """Return the first segments with a text that breaks the conventions; more than any queue takes.

    A text that a person confirmed is not sent back again, unless text or conventions changed.
    """
    review_requests = load_review_requests(lake)
    waiting = (each for each in find_violating_segments(lake) if each.unconfirmed)
    return [
        SentBackSegment(
            each.segment_id, each.day, each.text, _find_open_request(each, review_requests.get(each.segment_id, ()))
        )
        for each in islice(waiting, _MOST_SENT_BACK)
    ]


def _find_open_request(violating: ViolatingSegment, review_requests: Sequence[IssuedReviewRequest]) -> ReviewRequest:
    """Return the request that is still unanswered, or a new one for the next attempt."""
    text_digest, broken = compute_digest(violating.text), violating.unconfirmed
    for past in (each.request for each in review_requests):
        same = (past.conventions_digest, past.text_digest) == (violating.conventions_digest, text_digest)
        if same and set(broken) <= set(past.rules):
            return past
    return ReviewRequest(len(review_requests) + 1, broken, violating.conventions_digest, text_digest)


def format_iso_week(moment: datetime) -> str:
    """Return the ISO week of `moment`, such as `2026-W07`."""
    year, week, _ = moment.isocalendar()
    return f"{year}-W{week:02}"


def _sum_minutes(items: Sequence[ReviewItem]) -> float:
    return sum(each.duration_s for each in items) / 60
