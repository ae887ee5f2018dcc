"""Checks on the quality of recordings, text and snapshot; those on the snapshot stop a training of the same run.

Every bound is a key of `quality:` in the settings. A day's checks say where to look; what would hurt a model is judged
again on the snapshot, since a blocking check stops downstream steps in its own run only.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import dagster as dg

from habla_ml.defs.presentation import table
from habla_ml.defs.resources import StoreResource
from habla_ml.errors import CorpusError
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.corpus.quality import QualityFinding

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def build_corpus_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """The checks of `raw_recordings`, `annotated_corpus` and `splits` for these settings."""
    return [
        _build_recordings_checks(settings),
        _build_text_checks(settings),
        _build_snapshot_checks(settings),
        _build_hours_checks(settings),
    ]


def _build_recordings_checks(settings: Settings) -> dg.AssetChecksDefinition:
    quality = settings.quality

    @dg.multi_asset_check(
        name="quality_of_recordings",
        specs=[
            dg.AssetCheckSpec(
                "few_segments_clipped",
                asset="raw_recordings",
                description=(
                    f"At most {quality.most_clipped_share:.0%} of the day's segments have "
                    f"{quality.clipped_from_sample_share:.1%} or more of their samples at full scale."
                ),
            ),
            dg.AssetCheckSpec(
                "few_segments_silent",
                asset="raw_recordings",
                description=(
                    f"At most {quality.most_silent_share:.0%} of the day's segments are at or below "
                    f"{quality.silent_below_dbfs:g} dBFS."
                ),
            ),
        ],
    )
    def quality_of_recordings(
        context: dg.AssetCheckExecutionContext, lake: StoreResource
    ) -> Iterable[dg.AssetCheckResult]:
        from habla_ml.corpus.quality import check_recordings
        from habla_ml.recordings import load_day

        opened = lake.lake()
        day = load_day(opened, context.partition_key)
        if day is None:
            raise CorpusError(
                f"day {context.partition_key} is not in {opened.url}; materialise raw_recordings for it"
            )
        yield from _convert_findings("raw_recordings", check_recordings(opened, day.facts, quality), blocking=())

    return quality_of_recordings


_BLOCKING_ON_A_DAY = ("texts_are_as_long_as_their_audio", "texts_are_spanish")


def _build_text_checks(settings: Settings) -> dg.AssetChecksDefinition:
    quality, corpus = settings.quality, settings.corpus
    descriptions = {
        "texts_have_words": (
            f"At most {quality.most_without_words_share:.0%} of the day's transcripts are empty or only markers."
        ),
        "speaking_rate_is_plausible": (
            f"At most {quality.most_implausible_rate_share:.0%} of the day's transcripts are below "
            f"{corpus.slowest_chars_per_s:g} or above {corpus.fastest_chars_per_s:g} characters a second."
        ),
        "texts_are_as_long_as_their_audio": (
            "Longer audio holds longer text: the rank correlation of characters with seconds is at least "
            f"{quality.lowest_length_correlation:g}. Below it the texts stand beside the wrong files."
        ),
        "texts_are_spanish": (
            f"At most {quality.most_other_language_share:.0%} of a day's transcripts are English or another script."
        ),
    }

    @dg.multi_asset_check(
        name="quality_of_text",
        specs=[
            dg.AssetCheckSpec(
                name, asset="annotated_corpus", description=text, blocking=name in _BLOCKING_ON_A_DAY
            )
            for name, text in descriptions.items()
        ],
    )
    def quality_of_text(
        context: dg.AssetCheckExecutionContext, lake: StoreResource
    ) -> Iterable[dg.AssetCheckResult]:
        from habla_ml.corpus.build import load_corpus_day
        from habla_ml.corpus.quality import check_text

        opened = lake.lake()
        day = load_corpus_day(opened, context.partition_key)
        if day is None:
            raise CorpusError(
                f"day {context.partition_key} has no text in {opened.url}; materialise annotated_corpus for it"
            )
        yield from _convert_findings("annotated_corpus", check_text(opened, day, quality), _BLOCKING_ON_A_DAY)

    return quality_of_text


def _build_snapshot_checks(settings: Settings) -> dg.AssetChecksDefinition:
    quality = settings.quality

    @dg.multi_asset_check(
        name="quality_of_snapshot",
        specs=[
            dg.AssetCheckSpec(
                "texts_are_spanish",
                asset="splits",
                blocking=True,
                description=(
                    f"At most {quality.most_other_language_share:.0%} of the snapshot's sentences are English or in "
                    "another script."
                ),
            ),
            dg.AssetCheckSpec(
                "texts_are_as_long_as_their_audio",
                asset="splits",
                blocking=True,
                description=(
                    f"At most {quality.most_mismatched_hours_share:.0%} of the hours are of days whose texts do not go "
                    "with their audio (rank correlation of characters with seconds)."
                ),
            ),
        ],
    )
    def quality_of_snapshot(lake: StoreResource) -> Iterable[dg.AssetCheckResult]:
        from habla_ml.corpus.quality import check_snapshot
        from habla_ml.corpus.snapshot import load_latest_snapshot

        opened = lake.lake()
        found = check_snapshot(opened, load_latest_snapshot(opened), quality)
        yield from _convert_findings("splits", found, [each.name for each in found])

    return quality_of_snapshot


def _build_hours_checks(settings: Settings) -> dg.AssetChecksDefinition:
    quality = settings.quality

    @dg.multi_asset_check(
        name="nothing_was_lost",
        specs=[
            dg.AssetCheckSpec(
                "hours_did_not_fall",
                asset="splits",
                blocking=True,
                description=(
                    f"At most {quality.most_hours_lost_share:.0%} of the hours of the last good snapshot are gone. "
                    "Stays red until they are back or `quality.accepted_snapshot` names this snapshot."
                ),
            ),
            dg.AssetCheckSpec(
                "no_day_vanished",
                asset="splits",
                blocking=True,
                description="Every day with hours in the last good snapshot has some in this one.",
            ),
        ],
    )
    def nothing_was_lost(lake: StoreResource) -> Iterable[dg.AssetCheckResult]:
        from habla_ml.corpus.quality import find_lost_hours, hours_by_day, load_baseline_hours, save_baseline_hours
        from habla_ml.corpus.snapshot import load_latest_snapshot

        opened = lake.lake()
        snapshot = load_latest_snapshot(opened)
        now = hours_by_day(opened, snapshot)
        accepted = snapshot.id == quality.accepted_snapshot
        before = now if accepted else load_baseline_hours(opened) or now
        found = find_lost_hours(before, now, quality)
        if all(each.passed for each in found):
            save_baseline_hours(opened, snapshot, now)
        remedy = f"find out why; if it is right, set quality.accepted_snapshot to {snapshot.id}"
        yield from _convert_findings("splits", found, [each.name for each in found], remedy)

    return nothing_was_lost


def _convert_findings(
    asset: str, findings: "Iterable[QualityFinding]", blocking: Iterable[str], remedy: str = ""
) -> Iterator[dg.AssetCheckResult]:
    for found in findings:
        notes = [found.note, "" if found.passed else remedy]
        yield dg.AssetCheckResult(
            asset_key=asset,
            check_name=found.name,
            passed=found.passed,
            severity=ERROR if found.name in blocking else WARN,
            description="; ".join(note for note in notes if note) or None,
            metadata={
                "value": found.value,
                "bound": found.bound,
                "measured": found.unit,
                "offending": found.failing_count,
                "looked at": found.checked_count,
                "examples": table((vars(each) for each in found.examples), ["where", "reason", "segment_id"]),
            },
        )
