"""Monitoring of the version on the channel: measure its weeks, test for drift, store the record.

The pointer `monitoring/<version>/quality` names the newest record. Earlier measurements are reused from it, so that
the cost of a run depends on the corrections and recordings since the last run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import ValidationError

from habla_ml.corpus.snapshot import load_snapshot
from habla_ml.corpus.speakers import load_speaker_map
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
from habla_ml.lake import Lake, Store, catalogue
from habla_ml.monitoring.drift import WeeklyDrift, detect_drift
from habla_ml.monitoring.excess import ReferenceLevel, WeeklyMeasurement, compute_excesses
from habla_ml.monitoring.fresh_corrections import open_fresh_corrections
from habla_ml.monitoring.inputs import FEWEST_SESSIONS, build_input_series, sum_days
from habla_ml.monitoring.quality import explain_incomparable, measure_test_set, measure_weeks
from habla_ml.monitoring.record import MonitoredRelease, ReleaseLevel, WeeklyQuality
from habla_ml.monitoring.snapshot_contents import read_snapshot_contents
from habla_ml.monitoring.weeks import is_over, week_of_day, week_of_moment, weeks_before
from habla_ml.release.channel import read_channel
from habla_ml.review.candidates import list_recorded_days
from habla_ml.review.model_hypotheses import ReleasedModel, find_released_models
from habla_ml.settings import Settings
from habla_ml.settings.models import MonitoringSettings
from habla_ml.training.plan import read_plan

LEAST_WEEKLY_SPREAD: Final = 0.1
"""Least standard deviation between weeks of the logarithm of the error rate, beyond what their sessions explain."""


@dataclass(frozen=True)
class MonitoringResult:
    """A record as stored."""

    record: MonitoredRelease
    object_id: str
    decoded: int
    """Number of clips that this run decoded."""


def watch_release(
    lake: Lake, store: Store, settings: Settings, now: datetime, progress: Callable[[str], None]
) -> MonitoringResult | None:
    """Measure the current release of the channel up to `now` and test it for drift; None without a release.

    Weeks that end after `now`, an aware time, are shown and not tested.

    Raises:
        CorpusError: Recordings and their metadata or texts do not agree.
        EvaluationError: The release has no evidence of its quality, or its model cannot run.
        PointerMovedError: Another process has stored a record since this run read the last one; run again.
    """
    state = read_channel(store, settings.release.channel).current
    models = find_released_models(lake, store, settings.release.channel)
    if state is None or not models or models[0].version != state.model_version:
        return None
    version, zone = state.model_version, settings.zone
    trained = read_snapshot_contents(lake, load_snapshot(lake, read_plan(lake, version).snapshot))
    known = load_monitored_release(lake, version)
    before = {each.week: each for each in known.weeks} if known else {}
    with open_fresh_corrections(lake, trained.segments, state.released_at, zone) as fresh:
        progress(f"{version}: corrections of {len(fresh)} weeks since its release")
        measured, decoded = measure_weeks(lake, fresh, before, models[0], settings, progress)
        release_week = week_of_moment(state.released_at, zone)
        first = weeks_before(release_week, settings.monitoring.reference_weeks)
        recorded = [day for day in list_recorded_days(lake) if day >= first]
        speakers = load_speaker_map(settings.corpus.speakers)
        days = sum_days(lake, recorded, known.days if known else {}, trained, speakers)
        finished = [week for week in {*fresh, *map(week_of_day, days)} if is_over(week, now, zone)]
        bound = settings.monitoring.weeks_between_false_alarms
        level, drift, untested = _run_drift_test(
            measured, read_stored_comparison(lake, version), models[0], settings, now
        )
        record = MonitoredRelease(
            version=version,
            release=state.version,
            released_at=state.released_at,
            level=level,
            bound=bound,
            weeks=measured,
            drift=drift,
            untested=untested,
            inputs=build_input_series(days, fresh, trained, release_week, finished, bound),
            days=days,
        )
    return MonitoringResult(record, _publish_record(lake, record), decoded)


def load_monitored_release(lake: Lake, version: str) -> MonitoredRelease | None:
    """Return the newest record of a version; None without a record in the current format."""
    pointer = lake.read_pointer(catalogue.QUALITY.name(version))
    if pointer is None:
        return None
    try:
        return MonitoredRelease.model_validate_json(lake.get_bytes(pointer.value["record"]))
    except ValidationError:
        return None  # All of it can be measured again.


def _run_drift_test(
    weeks: tuple[WeeklyQuality, ...], comparison: Comparison, model: ReleasedModel, settings: Settings, now: datetime
) -> tuple[ReleaseLevel, tuple[WeeklyDrift, ...], dict[str, str]]:
    """Return the level of the release, the detector after each tested week, and why each other week is not tested."""
    bounds = settings.monitoring
    rate, test_set = measure_test_set(comparison)
    fault = explain_incomparable(comparison, model, settings)
    conventions = comparison.provenance.conventions_digest
    untested: dict[str, str] = {}
    tested: list[WeeklyMeasurement] = []
    for each in weeks:
        ended = is_over(each.week, now, settings.zone)
        reason = fault or (_explain_untested(each, conventions, bounds) if ended else "not over yet")
        if reason:
            untested[each.week] = reason
        elif each.representative is not None:
            counts = each.representative.rate.counts
            value = math.log((counts.errors + 0.5) / counts.reference_words)
            error, units = each.representative.log_standard_error, each.representative.units
            tested.append(WeeklyMeasurement(each.week, value, error, units))
    level = ReleaseLevel(
        rate=rate,
        log_standard_error=test_set.standard_error,
        sessions=comparison.test.sessions,
        tolerated=math.exp(test_set.value) * (1 + bounds.tolerated_worsening),
    )
    tolerance = math.log1p(bounds.tolerated_worsening)
    reference = ReferenceLevel(test_set.value, test_set.standard_error, tolerance)
    excesses = compute_excesses(tested, reference, LEAST_WEEKLY_SPREAD, samples=[test_set])
    return level, detect_drift(excesses, bounds.weeks_between_false_alarms), untested


def _explain_untested(week: WeeklyQuality, conventions: str, bounds: MonitoringSettings) -> str | None:
    """Return why a finished week is not tested, or None."""
    measured = week.representative
    if measured is None:
        return "only segments that a review queue chose as difficult were corrected"
    words = measured.rate.counts.reference_words
    if words < bounds.fewest_words_a_week:
        return f"too small: {words} of {bounds.fewest_words_a_week} words"
    if measured.sessions < FEWEST_SESSIONS:
        return f"too small: {measured.sessions} of {FEWEST_SESSIONS} sessions"
    if week.conventions != conventions:
        return "written under other conventions than the release's test set; materialise `wer_report` for it again"
    return None


def _publish_record(lake: Lake, record: MonitoredRelease) -> str:
    """Publish the record, move its pointer and return its object id; an unchanged record writes nothing."""
    name = catalogue.QUALITY.name(record.version)
    pointer = lake.read_pointer(name)
    object_id = lake.put_json(record.model_dump(mode="json"))
    value = {"record": object_id, "alarms": list(record.alarms)}
    if pointer is None or dict(pointer.value) != value:
        lake.move_pointer(name, value, pointer)
    return object_id
