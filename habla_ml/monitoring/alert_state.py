"""Alerts about conditions: one for each time that a condition begins, repeated until it is delivered.

The state is text that the caller keeps. It is not in the lake, because a lake that is down is one of the conditions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from habla_ml.monitoring.alerts import Alert, deliver

if TYPE_CHECKING:
    from habla_ml.settings.models import AlertSettings


@dataclass(frozen=True)
class Condition:
    """Something that is wrong now."""

    key: str
    """Names the kind, such as `deletion`; the alert is sent again only after the condition was over."""
    subject: str
    text: str
    patience: timedelta = timedelta()
    """How long it must last before the alert."""


@dataclass(frozen=True)
class ConditionReport:
    """The result of a look at the loop."""

    conditions: tuple[Condition, ...]
    unknown: frozenset[str] = frozenset()
    """Keys of conditions that could not be examined; their state stays."""


@dataclass(frozen=True)
class SentAlerts:
    """The result of `send_new_alerts`."""

    state: str
    """For the next call."""
    active: tuple[str, ...]
    """Keys of the conditions that have outlasted their patience."""
    silent: frozenset[str] = frozenset()
    """Channels that do not answer; asking them again would use up the time of the caller."""


@dataclass
class _ActiveCondition:
    since: datetime
    delivered: list[str] = field(default_factory=list)


def send_new_alerts(
    report: ConditionReport,
    state: str | None,
    settings: AlertSettings,
    now: datetime,
    environment: Mapping[str, str] = os.environ,
    log: Callable[[str], None] = lambda _: None,
) -> SentAlerts:
    """Send an alert for each condition that began.

    Args:
        report: What holds now.
        state: That of the last call; None before the first one.
        settings: The channels. A channel that refuses an alert gets it again at the next call. One that does not answer is
            not asked again in this call.
        now: An aware time.
        environment: Has the secrets of the channels.
        log: Called with each delivery and each fault.
    """
    known_before = _parse(state)
    current = {each.key: known_before.get(each.key, _ActiveCondition(now)) for each in report.conditions}
    kept = {key: each for key, each in known_before.items() if key in report.unknown and key not in current}
    active_keys, silent = [], set[str]()
    for condition in report.conditions:
        known = current[condition.key]
        if now - known.since < condition.patience:
            continue
        active_keys.append(condition.key)
        alert = Alert(f"{condition.key}/{known.since.isoformat()}", condition.subject, condition.text)
        for attempt in deliver(alert, settings, {*known.delivered, *silent}, environment):
            log(attempt.fault or f"alert {condition.key} sent by {attempt.channel}")
            if not attempt.fault:
                known.delivered.append(attempt.channel)
            elif attempt.is_slow:
                silent.add(attempt.channel)
    return SentAlerts(_format({**kept, **current}), tuple(active_keys), frozenset(silent))


def _parse(state: str | None) -> dict[str, _ActiveCondition]:
    """Return the stored conditions; a state that cannot be read counts as none, so that alerts are sent again."""
    try:
        stored: Mapping[str, Mapping[str, Any]] = json.loads(state or "{}")
        return {
            key: _ActiveCondition(datetime.fromisoformat(each["since"]), _list_texts(each["delivered"]))
            for key, each in stored.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def _list_texts(values: Collection[object]) -> list[str]:
    return [str(each) for each in values]


def _format(active: Mapping[str, _ActiveCondition]) -> str:
    stored = {key: {"since": each.since.isoformat(), "delivered": each.delivered} for key, each in active.items()}
    return json.dumps(stored, sort_keys=True)
