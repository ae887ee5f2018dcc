"""The sensor that alerts when the loop stops without a failed run, and repeats alerts that were refused."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from habla_ml.defs.monitoring.failed_runs import deliver_due_alerts, register_missed_failures
from habla_ml.defs.resources import StoreResource
from habla_ml.errors import IsolatedError, isolate
from habla_ml.monitoring.loop_watch import LoopWatch
from habla_ml.settings import Settings


def build_alert_sensor(settings: Settings) -> dg.SensorDefinition:
    """Return the sensor; its cursor holds which alerts were sent, because the lake may be what is down.

    Dagster ends a tick after 60 s and drops its cursor, so that nothing in it may wait for a server without a limit.
    """
    loop, watch = settings.monitoring.loop, LoopWatch(settings)

    @dg.sensor(
        name="loop_alerts",
        minimum_interval_seconds=loop.interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Sends an alert, once, when a recording that is not in the lake is about to be deleted by Habla, when "
            f"finished sessions wait for more than {loop.most_hours_waiting:g} h, when the lake or Habla's folder cannot "
            f"be read, when the disk is almost full or the review queue is older than {loop.review_queue_days:g} days. "
            "Repeats alerts that were refused."
        ),
    )
    def loop_alerts(context: dg.SensorEvaluationContext, lake: StoreResource) -> dg.SkipReason:
        from habla_ml.monitoring.alert_state import send_new_alerts

        now = datetime.now(UTC)
        lines: list[str] = []
        errors: list[IsolatedError] = []
        active: tuple[str, ...] = ()
        silent: frozenset[str] = frozenset()
        with isolate("the loop", errors):
            report = watch.examine(lake.lake, now)
            sent = send_new_alerts(report, context.cursor, settings.monitoring.alerts, now, log=lines.append)
            context.update_cursor(sent.state)
            active, silent = sent.active, sent.silent
        with isolate("failed runs", errors):
            register_missed_failures(context.instance, settings, now)
            lines += deliver_due_alerts(context.instance, settings, silent=silent)
        lines += [f"{each.subject} cannot be examined: {each.message}" for each in errors]
        return dg.SkipReason("; ".join([f"wrong now: {', '.join(active) or 'nothing'}", *lines]))

    return loop_alerts
