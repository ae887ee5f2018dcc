"""`review_queue`: which segments deserve a person's next minutes, and why."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from habla_ml.defs.owners import DATA_OWNERS
from habla_ml.defs.presentation import table
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.annotation.review_queue import ReviewItem
    from habla_ml.lake import Lake

_ITEMS_SHOWN = 25


def build_review_queue(settings: Settings) -> dg.AssetsDefinition:
    """The asset; one queue for the whole lake."""

    @dg.asset(
        deps=["raw_recordings", "annotated_corpus"],
        group_name="corpus",
        owners=DATA_OWNERS,
        kinds={"json", "fasterwhisper"},
        code_version="1",
        description=(
            f"The {settings.review.minutes:g} minutes of speech that a person should look at next: what the released "
            "model is unsure of or hears differently from Habla, rejected and quiet segments, voices with little "
            f"transcribed, spread over sessions and voices; {settings.review.random_share:.0%} are drawn at random, "
            "and only those may become validation or test. `habla-ml review` shows it in a terminal."
        ),
    )
    def review_queue(
        context: dg.AssetExecutionContext, lake: StoreResource, cdn: StoreResource
    ) -> dg.MaterializeResult:
        from habla_ml.review.queue import find_segments_to_send_back, make_queue

        opened, log = lake.lake(), context.log.info
        back = find_segments_to_send_back(opened)
        made = make_queue(opened, cdn.store(), settings, datetime.now(UTC), log, back)
        items = made.queue.items
        random_s = sum(each.duration_s for each in items if each.is_random)
        total_s = sum(each.duration_s for each in items)
        # A reason is worded "kind: particulars".
        reasons = Counter(kind for each in items for kind in {why.partition(":")[0] for why in each.reasons})
        speakers = Counter[str]()
        for each in items:
            speakers[each.speaker] += round(each.duration_s)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(made.queue.id),
            metadata={
                "minutes": round(made.queue.minutes, 2),
                "segments": len(items),
                "share random %": round(100 * random_s / total_s, 1) if total_s else 0.0,
                "sent back": sum(each.is_sent_back for each in items),
                "candidates": made.candidates,
                "candidate hours": round(made.candidate_hours, 3),
                "looked at closely": made.considered,
                "clips decoded now": made.decoded,
                "heard by": made.model_version or "no released model: chosen by the recordings' facts alone",
                "reasons": table(
                    ({"reason": reason, "segments": count} for reason, count in reasons.most_common()),
                    ["reason", "segments"],
                ),
                "by speaker": table(
                    (
                        {"speaker": number, "seconds": seconds}
                        for number, (_, seconds) in enumerate(speakers.most_common(), start=1)
                    ),
                    ["speaker", "seconds"],
                ),
                "first items": table(
                    (
                        {
                            "segment": each.segment_id,
                            "session": each.session_id,
                            "why": "; ".join(each.reasons),
                            "s": round(each.duration_s, 1),
                        }
                        for each in items[:_ITEMS_SHOWN]
                    ),
                    ["segment", "session", "why", "s"],
                ),
                "label studio": _push_to_label_studio(settings, opened, items, log),
                "object": made.queue.id,
            },
        )

    return review_queue


def _push_to_label_studio(
    settings: Settings, lake: "Lake", items: "Sequence[ReviewItem]", log: Callable[[str], None]
) -> str | dg.UrlMetadataValue:
    """Where the tasks are, or why there are none; a server that is down does not undo the queue."""
    from habla_ml.annotation.sources.label_studio.configured_server import connect, has_server, push_queue
    from habla_ml.errors import ServiceError

    if not has_server(settings):
        return "none: start one with `habla-ml label-studio up`, or name it in annotation.label_studio.url"
    try:
        with connect(settings) as server:
            report = push_queue(settings, lake, server, items, log)
    except ServiceError as error:
        return f"not pushed, run `habla-ml label-studio push` later: {error}"
    log(f"Label Studio: {report.added} new tasks, {report.known} were there already")
    return dg.MetadataValue.url(report.project.page)
