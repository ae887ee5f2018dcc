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
from habla_ml.corpus.speakers import load_speakers
from habla_ml.evaluation.comparison import Comparison
from habla_ml.evaluation.evidence import stored_comparison
from habla_ml.lake import Lake, Store, catalogue
from habla_ml.monitoring.excess import Level, Measurement
from habla_ml.monitoring.fresh import fresh_corrections, read_trained
from habla_ml.monitoring.inputs import FEWEST_SESSIONS, series_of_inputs, states, sum_days
from habla_ml.monitoring.quality import incomparable, level_of, measure_weeks
from habla_ml.monitoring.record import (
    DayOfInputs,
    Drift,
    InputSeries,
    ReleaseLevel,
    WatchedRelease,
    WeekOfQuality,
)
from habla_ml.monitoring.weeks import is_over, week_of_day, week_of_moment, weeks_before
from habla_ml.release.channel import ChannelPointer, read_channel
from habla_ml.review.candidates import recorded_days
from habla_ml.review.hearing import ReleasedModel, released_models
from habla_ml.settings import MonitoringSettings, Settings
from habla_ml.training.plan import read_plan

SPREAD_OF_WEEKS: Final = 0.1
"""Least standard deviation between weeks of the logarithm of the error rate, beyond what their sessions explain."""


@dataclass(frozen=True)
class Watched:
    """A record as it was kept."""

    record: WatchedRelease
    object_id: str
    decoded: int
    """Clips that had to be decoded now."""


def watch_release(
    lake: Lake, store: Store, settings: Settings, now: datetime, progress: Callable[[str], None]
) -> Watched | None:
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
    models = released_models(lake, store, settings.release.channel)
    if state is None or not models or models[0].version != state.model_version:
        return None
    version, zone = state.model_version, settings.zone
    trained = read_trained(lake, load_snapshot(lake, read_plan(lake, version).snapshot))
    known = load_watched(lake, version)
    fresh = fresh_corrections(lake, trained, state.released_at, zone)
    progress(f"{version}: corrections of {len(fresh)} weeks since its release")
    before = {each.week: each for each in known.weeks} if known else {}
    measured = measure_weeks(lake, fresh, before, models[0], settings, progress)
    release_week = week_of_moment(state.released_at, zone)
    first = weeks_before(release_week, settings.monitoring.reference_weeks)
    days = sum_days(
        lake,
        [day for day in recorded_days(lake) if day >= first],
        known.days if known else {},
        trained,
        load_speakers(settings.corpus.speakers),
    )
    weeks = {*fresh, *map(week_of_day, days)}
    inputs = series_of_inputs(
        days,
        fresh,
        trained,
        release_week,
        [week for week in weeks if is_over(week, now, zone)],
        settings.monitoring.weeks_between_false_alarms,
    )
    comparison = stored_comparison(lake, version)
    judged = _judge(measured.weeks, comparison, models[0], settings, now)
    record = _record(state, judged, measured.weeks, inputs, days, settings.monitoring)
    return Watched(record, _keep(lake, record), measured.decoded)


def load_watched(lake: Lake, version: str) -> WatchedRelease | None:
    """The newest record of a version; None where it was never watched, or by a code that kept another form."""
    pointer = lake.pointer(catalogue.QUALITY.name(version))
    if pointer is None:
        return None
    try:
        return WatchedRelease.model_validate_json(lake.get_bytes(pointer.value["record"]))
    except ValidationError:
        return None  # everything in it can be measured again


@dataclass(frozen=True)
class _Judged:
    level: ReleaseLevel
    drift: tuple[Drift, ...]
    untested: Mapping[str, str]


def _judge(
    weeks: tuple[WeekOfQuality, ...],
    comparison: Comparison,
    model: ReleasedModel,
    settings: Settings,
    now: datetime,
) -> _Judged:
    bounds = settings.monitoring
    level = level_of(comparison, bounds.tolerated_worsening)
    fault = incomparable(comparison, model, settings)
    conventions = comparison.provenance.conventions_digest
    untested: dict[str, str] = {}
    tested: list[Measurement] = []
    for each in weeks:
        reason = _why_not(each, conventions, bounds)
        if not is_over(each.week, now, settings.zone):
            reason = "not over yet"
        if fault or reason:
            untested[each.week] = fault or reason or ""
        elif each.representative is not None:
            counts = each.representative.rate.counts
            value = math.log((counts.errors + 0.5) / counts.reference_words)
            error, units = each.representative.log_standard_error, each.representative.units
            tested.append(Measurement(each.week, value, error, units))
    tolerance = math.log1p(bounds.tolerated_worsening)
    value, error = math.log(level.tolerated) - tolerance, level.log_standard_error
    drift = states(
        tested,
        Level(value, error, tolerance),
        SPREAD_OF_WEEKS,
        bounds.weeks_between_false_alarms,
        samples=[Measurement("", value, error, level.sessions)],
    )
    return _Judged(level, drift, untested)


def _why_not(week: WeekOfQuality, conventions: str, bounds: MonitoringSettings) -> str | None:
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


def _record(
    state: ChannelPointer,
    judged: _Judged,
    weeks: tuple[WeekOfQuality, ...],
    inputs: tuple[InputSeries, ...],
    days: Mapping[str, DayOfInputs],
    bounds: MonitoringSettings,
) -> WatchedRelease:
    return WatchedRelease(
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


def _keep(lake: Lake, record: WatchedRelease) -> str:
    """Publish the record and point at it; the same record writes nothing. Returns its object id."""
    name = catalogue.QUALITY.name(record.version)
    pointer = lake.pointer(name)
    object_id = lake.put_json(record.model_dump(mode="json"))
    value = {"record": object_id, "alarms": list(record.alarms)}
    if pointer is None or dict(pointer.value) != value:
        lake.move_pointer(name, value, pointer)
    return object_id
