"""Watching the version on the channel: measure its weeks, judge them, keep the record, tell somebody.

The pointer `monitoring/<version>/quality` names the newest record. What was measured before is taken from it, so that
a run costs what was corrected or recorded since.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import ValidationError

from habla_ml.corpus.snapshot import load_snapshot
from habla_ml.corpus.speakers import load_speaker_map
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
from habla_ml.lake import Lake, Store, catalogue
from habla_ml.monitoring.excess import ReferenceLevel, WeeklyMeasurement
from habla_ml.monitoring.fresh_corrections import load_fresh_corrections, read_snapshot_contents
from habla_ml.monitoring.inputs import FEWEST_SESSIONS, build_input_series, run_detector, sum_days
from habla_ml.monitoring.quality import compute_release_level, explain_incomparable, measure_weeks
from habla_ml.monitoring.record import (
    DailyInputs,
    InputSeries,
    MonitoredRelease,
    ReleaseLevel,
    WeeklyDrift,
    WeeklyQuality,
)
from habla_ml.monitoring.weeks import is_over, week_of_day, week_of_moment, weeks_before
from habla_ml.release.channel import ChannelPointer, read_channel
from habla_ml.review.candidates import list_recorded_days
from habla_ml.review.model_hypotheses import ReleasedModel, find_released_models
from habla_ml.settings import MonitoringSettings, Settings
from habla_ml.training.plan import read_plan

LEAST_WEEKLY_SPREAD: Final = 0.1
"""Least standard deviation between weeks of the logarithm of the error rate, beyond what their sessions explain."""


@dataclass(frozen=True)
class MonitoringResult:
    """A record as it was kept."""

    record: MonitoredRelease
    object_id: str
    decoded: int
    """Clips that had to be decoded now."""


def watch_release(
    lake: Lake, store: Store, settings: Settings, now: datetime, progress: Callable[[str], None]
) -> MonitoringResult | None:
    """Measure and judge the release that the channel names, up to `now`; None where nothing is released.

    Args:
        lake: Corpus, recordings, hypotheses, evidence, and where the record is kept.
        store: The release store.
        settings: How to decode, and the bounds in `monitoring`.
        now: Aware; weeks that end after it are shown and not tested.
        progress: Told a line now and then.

    Raises:
        CorpusError: Recordings and their facts or texts do not agree.
        EvaluationError: The release has no evidence of its quality, or its model cannot be run.
        PointerMovedError: Somebody else kept a record in the meantime; run again.
    """
    state = read_channel(store, settings.release.channel).current
    models = find_released_models(lake, store, settings.release.channel)
    if state is None or not models or models[0].version != state.model_version:
        return None
    version, zone = state.model_version, settings.zone
    trained = read_snapshot_contents(lake, load_snapshot(lake, read_plan(lake, version).snapshot))
    known = load_monitored_release(lake, version)
    fresh = load_fresh_corrections(lake, trained, state.released_at, zone)
    progress(f"{version}: corrections of {len(fresh)} weeks since its release")
    before = {each.week: each for each in known.weeks} if known else {}
    measured = measure_weeks(lake, fresh, before, models[0], settings, progress)
    release_week = week_of_moment(state.released_at, zone)
    first = weeks_before(release_week, settings.monitoring.reference_weeks)
    days = sum_days(
        lake,
        [day for day in list_recorded_days(lake) if day >= first],
        known.days if known else {},
        trained,
        load_speaker_map(settings.corpus.speakers),
    )
    weeks = {*fresh, *map(week_of_day, days)}
    inputs = build_input_series(
        days,
        fresh,
        trained,
        release_week,
        [week for week in weeks if is_over(week, now, zone)],
        settings.monitoring.weeks_between_false_alarms,
    )
    comparison = read_stored_comparison(lake, version)
    judged = _run_drift_test(measured.weeks, comparison, models[0], settings, now)
    record = _build_monitored_release(state, judged, measured.weeks, inputs, days, settings.monitoring)
    return MonitoringResult(record, _publish_record(lake, record), measured.decoded)


def load_monitored_release(lake: Lake, version: str) -> MonitoredRelease | None:
    """The newest record of a version; None where it was never watched, or by a code that kept another form."""
    pointer = lake.read_pointer(catalogue.QUALITY.name(version))
    if pointer is None:
        return None
    try:
        return MonitoredRelease.model_validate_json(lake.get_bytes(pointer.value["record"]))
    except ValidationError:
        return None  # everything in it can be measured again


@dataclass(frozen=True)
class _DriftResult:
    level: ReleaseLevel
    drift: tuple[WeeklyDrift, ...]
    untested: Mapping[str, str]


def _run_drift_test(
    weeks: tuple[WeeklyQuality, ...],
    comparison: Comparison,
    model: ReleasedModel,
    settings: Settings,
    now: datetime,
) -> _DriftResult:
    bounds = settings.monitoring
    level = compute_release_level(comparison, bounds.tolerated_worsening)
    fault = explain_incomparable(comparison, model, settings)
    conventions = comparison.provenance.conventions_digest
    untested: dict[str, str] = {}
    tested: list[WeeklyMeasurement] = []
    for each in weeks:
        reason = _explain_untested(each, conventions, bounds)
        if not is_over(each.week, now, settings.zone):
            reason = "not over yet"
        if fault or reason:
            untested[each.week] = fault or reason or ""
        elif each.representative is not None:
            counts = each.representative.rate.counts
            value = math.log((counts.errors + 0.5) / counts.reference_words)
            error, units = each.representative.log_standard_error, each.representative.units
            tested.append(WeeklyMeasurement(each.week, value, error, units))
    tolerance = math.log1p(bounds.tolerated_worsening)
    value, error = math.log(level.tolerated) - tolerance, level.log_standard_error
    drift = run_detector(
        tested,
        ReferenceLevel(value, error, tolerance),
        LEAST_WEEKLY_SPREAD,
        bounds.weeks_between_false_alarms,
        samples=[WeeklyMeasurement("", value, error, level.sessions)],
    )
    return _DriftResult(level, drift, untested)


def _explain_untested(week: WeeklyQuality, conventions: str, bounds: MonitoringSettings) -> str | None:
    """Why a week that is over is not tested, or None."""
    heard = week.representative
    if heard is None:
        return "nothing corrected but what seemed difficult"
    words = heard.rate.counts.reference_words
    if words < bounds.fewest_words_a_week:
        return f"too small: {words} of {bounds.fewest_words_a_week} words"
    if heard.sessions < FEWEST_SESSIONS:
        return f"too small: {heard.sessions} of {FEWEST_SESSIONS} sessions"
    if week.conventions != conventions:
        return "written under other conventions than the release's test set; materialise `wer_report` for it again"
    return None


def _build_monitored_release(
    state: ChannelPointer,
    judged: _DriftResult,
    weeks: tuple[WeeklyQuality, ...],
    inputs: tuple[InputSeries, ...],
    days: Mapping[str, DailyInputs],
    bounds: MonitoringSettings,
) -> MonitoredRelease:
    return MonitoredRelease(
        version=state.model_version,
        release=state.version,
        released_at=state.released_at,
        level=judged.level,
        bound=bounds.weeks_between_false_alarms,
        weeks=weeks,
        drift=judged.drift,
        untested=dict(judged.untested),
        inputs=inputs,
        days=dict(days),
    )


def _publish_record(lake: Lake, record: MonitoredRelease) -> str:
    """Publish the record and point at it; the same record writes nothing. Returns its object id."""
    name = catalogue.QUALITY.name(record.version)
    pointer = lake.read_pointer(name)
    object_id = lake.put_json(record.model_dump(mode="json"))
    value = {"record": object_id, "alarms": list(record.alarms)}
    if pointer is None or dict(pointer.value) != value:
        lake.move_pointer(name, value, pointer)
    return object_id
