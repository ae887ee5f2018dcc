"""`review_queue`: the segments to annotate next, with reasons, and its weekly schedule."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import dagster as dg

from habla_ml.defs.code_versions import get_code_version
from habla_ml.defs.jobs import REVIEW
from habla_ml.defs.partitions import DATA_OWNERS
from habla_ml.defs.presentation import link_service_page, table, tabulate_counts
from habla_ml.defs.resources import StoreResource
from habla_ml.defs.result_metadata import build_result_metadata
from habla_ml.defs.schedules import request_occasion, schedule_job
from habla_ml.lake import catalogue
from habla_ml.names import canonical_name
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.annotation.review_queue import ReviewItem
    from habla_ml.lake import Lake

_ITEMS_SHOWN = 25
_CHOICES: Final = {
    "random": "segments drawn at random",
    "ranked": (
        "segments with an uncertain transcript of the released model, or one that differs from Habla's, rejected and quiet "
        "segments, and speakers with little transcribed speech"
    ),
}
"""What `review.choice` takes of the train sessions."""


def build_review_queue(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset; one queue covers the whole lake."""

    @dg.asset(
        deps=["raw_recordings", "annotated_corpus"],
        group_name="corpus",
        owners=DATA_OWNERS,
        kinds={"json", "fasterwhisper"},
        code_version=get_code_version("review_queue"),
        freshness_policy=dg.FreshnessPolicy.time_window(
            fail_window=timedelta(days=settings.monitoring.loop.review_queue_days)
        ),
        description=(
            f"The {settings.review.minutes:g} minutes of speech to annotate next. First come texts that break the "
            f"conventions. {settings.review.random_share:.0%} are drawn at random from the held-out sessions and are "
            "transcribed without a text in view; only those may become validation or test. The rest is of train sessions: "
            f"{_CHOICES[settings.review.choice]}. `{settings.command('review')}` shows the queue in a terminal."
        ),
    )
    def review_queue(
        context: dg.AssetExecutionContext, lake: StoreResource, cdn: StoreResource
    ) -> dg.MaterializeResult:
        from habla_ml.review.queue import find_segments_to_send_back, make_queue

        opened, log = lake.lake(), context.log.info
        sent_back = find_segments_to_send_back(opened)
        made = make_queue(opened, cdn.store(), settings, datetime.now(UTC), log, sent_back)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(made.queue.id),
            metadata=build_result_metadata(
                "the segments that a person should transcribe or correct next",
                {
                    "segments": len(made.queue.items),
                    "minutes": made.queue.minutes,
                    "chosen from": f"{made.candidates} segments, {made.candidate_hours:.2f} h",
                    "transcribed by": made.model_version or "no released model",
                },
                "correct them on the page or in Label Studio; the corrections come in by themselves",
                page=link_service_page(settings, "/correct"),
                details={
                    "minutes": made.queue.minutes,
                    "minutes without use": made.wasted_minutes,
                    **_describe_items(made.queue.items),
                    "candidates": made.candidates,
                    "candidate hours": made.candidate_hours,
                    "considered": made.considered,
                    "clips decoded now": made.decoded,
                    "transcribed by": made.model_version or "no released model",
                    "label studio": _push_to_label_studio(settings, opened, made.queue.items, log),
                    "object": made.queue.id,
                },
            ),
        )

    return review_queue


def build_review_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Return the schedule `review.cron`."""

    @schedule_job(
        REVIEW,
        settings.review.cron,
        settings,
        f"Chooses the {settings.review.minutes:g} minutes to annotate this week.",
    )
    def weekly_review(context: dg.ScheduleEvaluationContext, lake: StoreResource) -> dg.RunRequest | dg.SkipReason:
        if next(catalogue.RECORDINGS.keys(lake.lake()), None) is None:
            return dg.SkipReason("the lake has no recordings yet")
        return request_occasion(REVIEW, context)

    return weekly_review


def _describe_items(items: "Sequence[ReviewItem]") -> dict[str, int | float | dg.MarkdownMetadataValue]:
    """Return counts and tables of the queue; speakers are numbered, not named."""
    random_s = sum(each.work_s for each in items if each.is_random)
    total_s = sum(each.work_s for each in items)
    # A reason has the form "kind: details".
    reasons = Counter(kind for each in items for kind in {reason.partition(":")[0] for reason in each.reasons})
    seconds_by_speaker = Counter[str]()
    for each in items:
        seconds_by_speaker[canonical_name(each.speaker)] += round(each.duration_s)
    speakers = enumerate(seconds_by_speaker.most_common(), start=1)
    first_items = (
        {
            "segment": each.segment_id,
            "session": each.session_id,
            "why": "; ".join(each.reasons),
            "s": round(each.duration_s, 1),
        }
        for each in items[:_ITEMS_SHOWN]
    )
    return {
        "segments": len(items),
        "share random %": round(100 * random_s / total_s, 1) if total_s else 0.0,
        "blind": sum(each.is_blind for each in items),
        "for two people": sum(each.blind_people > 1 for each in items),
        "sent back": sum(each.is_sent_back for each in items),
        "minutes by purpose and split": _tabulate_minutes(items),
        "reasons": tabulate_counts("reason", dict(reasons.most_common())),
        "by speaker": table(
            ({"speaker": number, "seconds": seconds} for number, (_, seconds) in speakers), ["speaker", "seconds"]
        ),
        "first items": table(first_items, ["segment", "session", "why", "s"]),
    }


def _tabulate_minutes(items: "Sequence[ReviewItem]") -> dg.MarkdownMetadataValue:
    """Return the minutes of listening by purpose and split; a segment for two people counts twice."""
    seconds = defaultdict[tuple[str, str], float](float)
    for each in items:
        seconds[each.purpose, each.split] += each.work_s
    rows = (
        {"purpose": purpose, "split": split or "unknown", "minutes": round(total / 60, 2)}
        for (purpose, split), total in sorted(seconds.items())
    )
    return table(rows, ["purpose", "split", "minutes"])


def _push_to_label_studio(
    settings: Settings, lake: "Lake", items: "Sequence[ReviewItem]", log: Callable[[str], None]
) -> str | dg.UrlMetadataValue:
    """Return the project's address, or why there are no tasks; an outage does not discard the queue."""
    from habla_ml.annotation.sources.label_studio.configured_server import connect, has_server, push_queue
    from habla_ml.errors import ServiceError

    if not has_server(settings):
        return (
            f"none: start a server with `{settings.command('label-studio', 'up')}` or set annotation.label_studio.url"
        )
    try:
        with connect(settings) as server:
            report = push_queue(settings, lake, server, items, log)
    except ServiceError as error:
        return f"not pushed: {error}; run `{settings.command('label-studio', 'push')}` later"
    log(f"Label Studio: {report.added} new tasks, {report.known} existed already")
    return dg.MetadataValue.url(report.project.page)
