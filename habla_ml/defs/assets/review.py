"""`review_queue`: which segments deserve a person's next minutes, and why."""

from collections import Counter
from datetime import UTC, datetime

import dagster as dg

from habla_ml.defs.owners import DATA_OWNERS
from habla_ml.defs.presentation import table
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings

_SHOWN = 25


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
        from habla_ml.review.queue import make_queue

        # What is sent back for breaking the conventions goes in as `sent_back`.
        made = make_queue(lake.lake(), cdn.store(), settings, datetime.now(UTC), context.log.info)
        # The one place for the push to Label Studio: made.queue.items is what becomes tasks.
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
                    ({"speaker": name, "seconds": seconds} for name, seconds in speakers.most_common()),
                    ["speaker", "seconds"],
                ),
                "first items": table(
                    (
                        {
                            "segment": each.segment_id,
                            "session": each.session_id,
                            "speaker": each.speaker,
                            "hint": each.hint,
                            "why": "; ".join(each.reasons),
                            "s": round(each.duration_s, 1),
                        }
                        for each in items[:_SHOWN]
                    ),
                    ["segment", "session", "speaker", "hint", "why", "s"],
                ),
                "object": made.queue.id,
            },
        )

    return review_queue
