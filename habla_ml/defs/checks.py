"""Asset checks: what a person should see turn red, blocking where going on would hurt.

A blocking check stops downstream steps in its own run only; the release verifies its gate itself.
"""

import dagster as dg

from habla_ml.defs.corpus_checks import build_corpus_checks
from habla_ml.defs.monitoring import build_monitoring_checks
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings

_MOST_SKIPPED_SHARE = 0.1


def build_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """All checks for these settings."""

    @dg.asset_check(
        asset="raw_recordings",
        description=f"Less than {_MOST_SKIPPED_SHARE:.0%} of a day's files are set aside.",
    )
    def few_files_set_aside(context: dg.AssetCheckExecutionContext, lake: StoreResource) -> dg.AssetCheckResult:
        from habla_ml.recordings import load_day, read_skipped_inputs

        opened = lake.lake()
        day = load_day(opened, context.partition_key)
        if day is None:
            return dg.AssetCheckResult(passed=False, description="the day is not in the lake")
        set_aside = len(read_skipped_inputs(opened, day.set_aside))
        share = set_aside / max(1, set_aside + day.segments)
        return dg.AssetCheckResult(
            passed=share < _MOST_SKIPPED_SHARE,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"set aside": set_aside, "segments": day.segments},
        )

    @dg.asset_check(
        asset="splits", blocking=True, description="There is a test set, and no session is in two splits."
    )
    def splits_are_disjoint_and_whole(lake: StoreResource) -> dg.AssetCheckResult:
        from habla_ml.corpus.snapshot import find_sessions_in_two_splits, load_latest_snapshot
        from habla_ml.corpus.splits import load_split_changes

        opened = lake.lake()
        snapshot = load_latest_snapshot(opened)
        twice = find_sessions_in_two_splits(opened, snapshot)
        return dg.AssetCheckResult(
            passed=not twice and all(snapshot.counts.values()),
            metadata={
                "sessions in two splits": len(twice),
                **{str(split): count for split, count in snapshot.counts.items()},
                **{f"{split} left": each.left + each.erased for split, each in load_split_changes(opened).items()},
            },
            description="" if all(snapshot.counts.values()) else "a split is empty: correct more sessions",
        )

    @dg.asset_check(
        asset="wer_report",
        description="The version may be released by the promotion rule. A refusal is an outcome, not a fault.",
    )
    def promotion_rule(context: dg.AssetCheckExecutionContext, lake: StoreResource) -> dg.AssetCheckResult:
        from habla_ml.evaluation.promotion.rule import decide
        from habla_ml.evaluation.run import read_stored_comparison

        decision = decide(read_stored_comparison(lake.lake(), context.partition_key), settings.promotion)
        return dg.AssetCheckResult(
            passed=decision.verdict == "deploy",
            severity=dg.AssetCheckSeverity.WARN,
            description=" ".join(decision.reasons),
            metadata={"verdict": decision.verdict},
        )

    return [
        few_files_set_aside,
        splits_are_disjoint_and_whole,
        promotion_rule,
        *build_corpus_checks(settings),
        *build_monitoring_checks(settings),
    ]
