"""Checks on the quality of recordings, text and snapshot.

Every bound is a key of `quality:` in the settings. The checks on a day locate a problem. The checks on the snapshot
repeat what would harm a model and block the training, since a blocking check stops downstream steps of its own run
only.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import dagster as dg

from habla_ml.defs.presentation import table
from habla_ml.defs.resources import StoreResource
from habla_ml.errors import CorpusError
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.corpus.quality import QualityFinding

_BLOCKING_ON_A_DAY = ("texts_are_as_long_as_their_audio", "texts_are_spanish")


def build_quality_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """Return the checks of `raw_recordings`, `annotated_corpus` and `splits`."""
    return [
        _build_recordings_checks(settings),
        _build_text_checks(settings),
        _build_snapshot_checks(settings),
        _build_hours_checks(settings),
    ]


def _build_recordings_checks(settings: Settings) -> dg.AssetChecksDefinition:
    quality = settings.quality
    descriptions = {
        "few_segments_clipped": (
            f"At most {quality.most_clipped_share:.0%} of the day's segments have "
            f"{quality.clipped_from_sample_share:.1%} or more of their samples at full scale."
        ),
        "few_segments_silent": (
            f"At most {quality.most_silent_share:.0%} of the day's segments are at or below "
            f"{quality.silent_below_dbfs:g} dBFS."
        ),
    }

    @dg.multi_asset_check(name="quality_of_recordings", specs=_build_specs("raw_recordings", descriptions))
    def quality_of_recordings(
        context: dg.AssetCheckExecutionContext, lake: StoreResource
    ) -> Iterable[dg.AssetCheckResult]:
        from habla_ml.corpus.quality import check_recordings
        from habla_ml.recordings.days import load_day

        opened = lake.lake()
        day = load_day(opened, context.partition_key)
        if day is None:
            raise CorpusError(f"day {context.partition_key} is not in {opened.url}; materialise raw_recordings for it")
        yield from _convert_findings("raw_recordings", check_recordings(opened, day.metadata, quality), blocking=())

    return quality_of_recordings


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
            "Longer audio has longer text: the rank correlation of characters with seconds is at least "
            f"{quality.lowest_length_correlation:g}. A lower value means that texts belong to other files."
        ),
        "texts_are_spanish": (
            f"At most {quality.most_other_language_share:.0%} of a day's transcripts are English or another script."
        ),
    }

    @dg.multi_asset_check(
        name="quality_of_text", specs=_build_specs("annotated_corpus", descriptions, _BLOCKING_ON_A_DAY)
    )
    def quality_of_text(context: dg.AssetCheckExecutionContext, lake: StoreResource) -> Iterable[dg.AssetCheckResult]:
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
    descriptions = {
        "texts_are_spanish": (
            f"At most {quality.most_other_language_share:.0%} of the snapshot's sentences are English or in another "
            "script."
        ),
        "texts_are_as_long_as_their_audio": (
            f"At most {quality.most_mismatched_hours_share:.0%} of the hours are from days with texts that do not "
            "match their audio (rank correlation of characters with seconds)."
        ),
    }

    @dg.multi_asset_check(name="quality_of_snapshot", specs=_build_specs("splits", descriptions, blocking=descriptions))
    def quality_of_snapshot(lake: StoreResource) -> Iterable[dg.AssetCheckResult]:
        from habla_ml.corpus.quality import check_snapshot
        from habla_ml.corpus.snapshot import load_latest_snapshot

        opened = lake.lake()
        found = check_snapshot(opened, load_latest_snapshot(opened), quality)
        yield from _convert_findings("splits", found, blocking=descriptions)

    return quality_of_snapshot


def _build_hours_checks(settings: Settings) -> dg.AssetChecksDefinition:
    quality = settings.quality
    descriptions = {
        "hours_did_not_fall": (
            f"At most {quality.most_hours_lost_share:.0%} of the hours of the last good snapshot are missing. Fails "
            "until they are back or `quality.accepted_snapshot` names this snapshot."
        ),
        "no_day_vanished": "Every day with hours in the last good snapshot has some in this one.",
    }

    @dg.multi_asset_check(name="nothing_was_lost", specs=_build_specs("splits", descriptions, blocking=descriptions))
    def nothing_was_lost(lake: StoreResource) -> Iterable[dg.AssetCheckResult]:
        from habla_ml.corpus.quality import find_lost_hours, hours_by_day, load_baseline_hours, save_baseline_hours
        from habla_ml.corpus.snapshot import load_latest_snapshot

        opened = lake.lake()
        snapshot = load_latest_snapshot(opened)
        now = hours_by_day(opened, snapshot)
        is_accepted = snapshot.id == quality.accepted_snapshot
        before = now if is_accepted else load_baseline_hours(opened) or now
        found = find_lost_hours(before, now, quality)
        if all(each.passed for each in found):
            save_baseline_hours(opened, snapshot, now)
        remedy = f"find the cause; if the loss is intended, set quality.accepted_snapshot to {snapshot.id}"
        yield from _convert_findings("splits", found, descriptions, remedy)

    return nothing_was_lost


def _build_specs(asset: str, descriptions: Mapping[str, str], blocking: Iterable[str] = ()) -> list[dg.AssetCheckSpec]:
    names = set(blocking)
    return [
        dg.AssetCheckSpec(name, asset=asset, description=text, blocking=name in names)
        for name, text in descriptions.items()
    ]


def _convert_findings(
    asset: str, findings: "Iterable[QualityFinding]", blocking: Iterable[str], remedy: str = ""
) -> Iterator[dg.AssetCheckResult]:
    names = set(blocking)
    for found in findings:
        notes = [found.note, "" if found.passed else remedy]
        yield dg.AssetCheckResult(
            asset_key=asset,
            check_name=found.name,
            passed=found.passed,
            severity=dg.AssetCheckSeverity.ERROR if found.name in names else dg.AssetCheckSeverity.WARN,
            description="; ".join(note for note in notes if note) or None,
            metadata={
                "value": found.value,
                "bound": found.bound,
                "unit": found.unit,
                "failing": found.failing_count,
                "checked": found.checked_count,
                "examples": table(map(vars, found.examples), ["where", "reason", "segment_id"]),
            },
        )
