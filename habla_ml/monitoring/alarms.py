"""The active alarms of a monitored release, and their alert messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

from habla_ml.monitoring.alerts import Alert
from habla_ml.monitoring.record import InputSeries, MonitoredRelease

# A lasting change raises the next alarm within this time.
_ALARM_LIFETIME: Final = timedelta(weeks=4)

INPUT_LABELS: Final = {
    "loudness_dbfs": "loudness (dBFS)",
    "snr_db": "signal-to-noise (dB)",
    "clipped": "clipped segments (share)",
    "duration_s": "segment length (s)",
    "rejected": "segments that Habla rejected (share)",
    "unseen_speakers": "speech of unseen speakers (share)",
    "unknown_words": "words unknown to the training (share)",
}


def active_alarms(weeks: Sequence[str], record: MonitoredRelease) -> tuple[str, ...]:
    """Return the alarm weeks within four weeks of the newest measured week."""
    if record.last_week is None:
        return ()
    oldest = (date.fromisoformat(record.last_week) - _ALARM_LIFETIME).isoformat()
    return tuple(week for week in weeks if week > oldest)


def build_alerts(record: MonitoredRelease, rollback_command: str) -> tuple[Alert, ...]:
    """Return one message for each active alarm; the same alarm always has the same key.

    `rollback_command` is empty where there is no earlier release.
    """
    quality = [_build_quality_alert(record, week, rollback_command) for week in active_alarms(record.alarms, record)]
    inputs = [
        _build_input_alert(record, each, week) for each in record.inputs for week in active_alarms(each.alarms, record)
    ]
    return (*quality, *inputs)


def _build_quality_alert(record: MonitoredRelease, week: str, rollback_command: str) -> Alert:
    rates = [
        (each.week, each.representative.rate.interval)
        for each in record.weeks
        if each.representative is not None and each.week <= week
    ]
    listed = [
        f"  {each}: {interval.value:.1%} ({interval.low:.1%} to {interval.high:.1%})"
        for each, interval in rates[-6:]
        if interval is not None
    ]
    released = record.level.rate.value or 0.0
    evidence = next(each.evidence for each in record.drift if each.week == week)
    back = f" or go back to the previous release (`{rollback_command}`)" if rollback_command else ""
    return Alert(
        key=f"drift/{record.version}/{week}",
        subject=f"{record.release} makes more errors than when it was released",
        text="\n".join(
            [
                f"Word error rate on fresh corrections, with 95 % intervals, up to the week of {week}:",
                *listed,
                f"It was {released:.1%} on the test set of the release; {record.level.tolerated:.1%} is tolerated.",
                f"Evidence of a change: {evidence:.0f}; {record.bound:g} or more is an alarm.",
                "Open `released_model_quality` in Dagster: check which inputs changed and whether the corrections of "
                f"those weeks are right. Then train on them (job `train_and_release`){back}.",
            ]
        ),
    )


def _build_input_alert(record: MonitoredRelease, series: InputSeries, week: str) -> Alert:
    name = INPUT_LABELS[series.name]
    value = next(each.value for each in series.weeks if each.week == week)
    return Alert(
        key=f"inputs/{record.version}/{series.name}/{week}",
        subject=f"The input of {record.release} has changed: {name}",
        text="\n".join(
            [
                f"{name}: {value:.3g} in the week of {week}, {series.level:.3g} before the release;",
                f"a difference of up to {series.allowance:.2g} counts as no change.",
                "Open `released_model_quality` in Dagster to see whether errors have changed too. Look for a new "
                "microphone, classroom or group, and correct some of its speech.",
            ]
        ),
    )
