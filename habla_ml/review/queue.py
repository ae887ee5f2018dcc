"""The weekly review queue: collect candidates, decode, choose and publish."""

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
    load_planned_splits,
    load_queue,
    load_review_requests,
    save_queue,
)
from habla_ml.corpus.violations import ViolatingSegment, find_violating_segments
from habla_ml.lake import Lake, Store, compute_digest
from habla_ml.review.candidates import TRAIN, find_segments, gather_pool
from habla_ml.review.model_hypotheses import decode_pool, find_released_models
from habla_ml.review.selection import (
    DecodedCandidate,
    SentBackSegment,
    choose_within_budget,
    draw_random,
    interleave,
    rank,
    select_sent_back,
    take_minutes,
)
from habla_ml.review.split_plan import SplitPlan, plan_splits
from habla_ml.settings import Settings

_MOST_SENT_BACK: Final = 1000
_SPARE: Final = 1.25
"""Minutes considered for each minute of a random choice; noise and equal audio are left out."""


@dataclass(frozen=True)
class ReviewQueueResult:
    """A queue and the candidates it was chosen from."""

    queue: ReviewQueue
    candidates: int
    """Segments without an annotation."""
    candidate_hours: float
    considered: int
    """How many of them could be chosen from."""
    decoded: int
    """Clips that were decoded for it."""
    model_version: str
    """The released model that transcribed them; empty before the first release."""

    @property
    def wasted_minutes(self) -> float:
        """Minutes of segments that were chosen as uncertain and that no split can use."""
        chosen = (each for each in self.queue.items if not (each.is_random or each.is_sent_back))
        return sum(each.work_s for each in chosen if each.split != TRAIN) / 60


def make_queue(
    lake: Lake,
    store: Store,
    settings: Settings,
    now: datetime,
    progress: Callable[[str], None],
    sent_back: Sequence[SentBackSegment] = (),
) -> ReviewQueueResult:
    """Choose this week's segments and publish them; the same choice publishes nothing new.

    First the split of every recorded session is planned. The random share is drawn next, so that it does not depend on
    the rest: from the held-out sessions, and from train where these have too few candidates. The ISO week of `now`, an
    aware time, seeds it. The rest is chosen from train sessions alone, as `review.choice` says. No held-out segment is
    decoded, and of a random choice little more than what is chosen.
    The segments in `sent_back` are reviewed again, first of all. The model is the current one on the channel of `store`.

    Raises:
        CorpusError: Recordings and their metadata do not agree.
        EvaluationError: The released model cannot run.
        PointerMovedError: Another process published a queue in the meantime; run again.
    """
    review = settings.review
    plan = plan_splits(lake, settings)
    pool = gather_pool(lake, settings, format_iso_week(now.astimezone(settings.zone)), plan.splits)
    considered = pool.members if review.choice == "ranked" else take_minutes(pool.drawn, _SPARE * review.minutes)
    progress(f"{pool.candidates} segments without an annotation, {len(considered)} of them are considered")
    models = find_released_models(lake, store, settings.release.channel)
    decoded = decode_pool(lake, considered, models, settings, progress)
    known = {each.segment_id: DecodedCandidate(each, decoded.by_segment.get(each.segment_id)) for each in considered}
    segments = find_segments(lake, [(each.day, each.segment_id) for each in sent_back], plan.splits)
    found = [(each, segments[each.segment_id]) for each in sent_back if each.segment_id in segments]
    returned = select_sent_back(found, review.minutes * review.sent_back_share)
    in_train = [known[each.segment_id] for each in pool.drawn if each.segment_id in known]
    in_random_order = [*map(DecodedCandidate, pool.held_out), *in_train]
    drawn = draw_random(in_random_order, review.minutes * review.random_share, review)
    drawn_ids = {each.segment_id for each in drawn}
    rest = review.minutes - _sum_minutes(returned) - _sum_minutes(drawn)
    if review.choice == "ranked":
        taken = [each for each in in_random_order if each.candidate.segment_id in drawn_ids]
        ranked = rank(list(known.values()), review, settings.evaluation.quiet_below_dbfs)
        chosen = choose_within_budget(ranked, rest, review.most_segments_per_session, taken)
    else:
        speech = [each for each in in_train if not each.is_noise and each.candidate.segment_id not in drawn_ids]
        chosen = draw_random(speech, rest, review)
    return ReviewQueueResult(
        queue=_publish(lake, (*returned, *interleave(chosen, drawn)), plan, now),
        candidates=pool.candidates,
        candidate_hours=pool.hours,
        considered=len(considered),
        decoded=decoded.decoded,
        model_version=models[0].version if models else "",
    )


def _publish(lake: Lake, items: tuple[ReviewItem, ...], plan: SplitPlan, now: datetime) -> ReviewQueue:
    """Publish the queue with its plan; the same queue keeps its time."""
    latest = load_queue(lake)
    if latest is None or latest.items != items:
        return save_queue(lake, items, now, plan.planned)
    if load_planned_splits(lake) == dict(plan.planned):
        return latest
    return save_queue(lake, items, latest.made_at, plan.planned)


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
    return sum(each.work_s for each in items) / 60
