"""Checks on the quality of recordings, text and snapshot.

Every bound is a key of `quality:` in the settings. The checks on a day locate a problem. The checks on the snapshot
repeat what would harm a model and block the training, since a blocking check stops downstream steps of its own run
only.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import dagster as dg

from habla_ml.defs.presentation import tabulate_examples
from habla_ml.defs.resources import StoreResource
from habla_ml.defs.result_metadata import round_figure
from habla_ml.errors import CorpusError
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.corpus.quality import QualityFinding
    from habla_ml.lake import Lake

    FindProblems = Callable[[Lake, str], Iterable[QualityFinding]]

_REMEDY_RECORDINGS: Final = "If it fails, look at the microphone and the gain of the sessions in `examples`."
_REMEDY_TEXT: Final = (
    "If it fails, correct the segments in `examples`, or raise the bound in `quality:` of the profile."
)
_REMEDY_SNAPSHOT: Final = "It blocks the training; if it fails, look at the days in `examples`."
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

    def find_problems(lake: "Lake", name: str) -> "Iterable[QualityFinding]":
        from habla_ml.corpus.quality import check_recordings
        from habla_ml.recordings.days import load_day

        day = load_day(lake, name)
        if day is None:
            raise CorpusError(f"day {name} is not in {lake.url}; materialise raw_recordings for it")
        return check_recordings(lake, day.metadata, quality)

    return _build_checks("quality_of_recordings", "raw_recordings", descriptions, (), find_problems)


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

    def find_problems(lake: "Lake", name: str) -> "Iterable[QualityFinding]":
        from habla_ml.corpus.build import load_corpus_day
        from habla_ml.corpus.quality import check_text

        day = load_corpus_day(lake, name)
        if day is None:
            raise CorpusError(f"day {name} has no text in {lake.url}; materialise annotated_corpus for it")
        return check_text(lake, day, quality)

    return _build_checks("quality_of_text", "annotated_corpus", descriptions, _BLOCKING_ON_A_DAY, find_problems)


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

    def find_problems(lake: "Lake", _: str) -> "Iterable[QualityFinding]":
        from habla_ml.corpus.quality import check_snapshot
        from habla_ml.corpus.snapshot import load_latest_snapshot

        return check_snapshot(lake, load_latest_snapshot(lake), quality)

    return _build_checks("quality_of_snapshot", "splits", descriptions, descriptions, find_problems)


def _build_hours_checks(settings: Settings) -> dg.AssetChecksDefinition:
    quality = settings.quality
    descriptions = {
        "hours_did_not_fall": (
            f"At most {quality.most_hours_lost_share:.0%} of the hours of the last good snapshot are missing. Fails "
            "until they are back or `quality.accepted_snapshot` names this snapshot."
        ),
        "no_day_vanished": "Every day with hours in the last good snapshot has some in this one.",
    }

    def find_problems(lake: "Lake", _: str) -> "Iterable[QualityFinding]":
        from habla_ml.corpus.quality import find_lost_hours, hours_by_day, load_baseline_hours, save_baseline_hours
        from habla_ml.corpus.snapshot import load_latest_snapshot

        snapshot = load_latest_snapshot(lake)
        now = hours_by_day(lake, snapshot)
        is_accepted = snapshot.id == quality.accepted_snapshot
        before = now if is_accepted else load_baseline_hours(lake) or now
        found = find_lost_hours(before, now, quality)
        if all(each.passed for each in found):
            save_baseline_hours(lake, snapshot, now)
        remedy = f"find the cause; if the loss is intended, set quality.accepted_snapshot to {snapshot.id}"
        for each in found:
            notes = filter(None, [each.note, "" if each.passed else remedy])
            yield replace(each, note="; ".join(notes))

    return _build_checks("nothing_was_lost", "splits", descriptions, descriptions, find_problems)


def _build_checks(
    name: str, asset: str, descriptions: Mapping[str, str], blocking: Collection[str], find: "FindProblems"
) -> dg.AssetChecksDefinition:
    """Return one check for each description; those in `blocking` stop downstream steps."""
    remedy = {"raw_recordings": _REMEDY_RECORDINGS, "annotated_corpus": _REMEDY_TEXT, "splits": _REMEDY_SNAPSHOT}[asset]
    specs = [
        dg.AssetCheckSpec(check, asset=asset, description=f"{text} {remedy}", blocking=check in blocking)
        for check, text in descriptions.items()
    ]

    @dg.multi_asset_check(name=name, specs=specs)
    def run_checks(context: dg.AssetCheckExecutionContext, lake: StoreResource) -> Iterable[dg.AssetCheckResult]:
        for found in find(lake.lake(), context.partition_key if context.has_partition_key else ""):
            yield dg.AssetCheckResult(
                asset_key=asset,
                check_name=found.name,
                passed=found.passed,
                severity=dg.AssetCheckSeverity.ERROR if found.name in blocking else dg.AssetCheckSeverity.WARN,
                description=found.note or f"{found.failing_count} of {found.checked_count} fail",
                metadata={
                    "value": round_figure(found.value),
                    "bound": found.bound,
                    "unit": found.unit,
                    "failing": found.failing_count,
                    "checked": found.checked_count,
                    "examples": tabulate_examples(map(vars, found.examples), ["where", "reason", "segment_id"]),
                },
            )

    return run_checks
