"""Weekly monitoring of the released model: the asset, its checks and its schedule."""

import dagster as dg

from habla_ml.defs.monitoring.checks import build_monitoring_checks
from habla_ml.defs.monitoring.failed_runs import build_failure_sensor
from habla_ml.defs.monitoring.loop_alerts import build_alert_sensor
from habla_ml.defs.monitoring.loop_status import build_loop_checks, build_loop_status, build_status_schedule
from habla_ml.defs.monitoring.lost_runs import build_lost_runs_sensor
from habla_ml.defs.monitoring.released_model_quality import build_released_model_quality, build_weekly_schedule
from habla_ml.defs.monitoring.storage_cleanup import build_cleanup_schedule, build_storage_cleanup
from habla_ml.defs.scheduled_retries import build_retry_sensors
from habla_ml.settings import Settings


def build(settings: Settings) -> dg.Definitions:
    """Return the definitions of monitoring."""
    return dg.Definitions(
        assets=[build_released_model_quality(settings), build_storage_cleanup(settings), build_loop_status(settings)],
        asset_checks=[*build_monitoring_checks(settings), *build_loop_checks(settings)],
        sensors=[
            build_failure_sensor(settings),
            build_alert_sensor(settings),
            build_lost_runs_sensor(),
            *build_retry_sensors(settings),
        ],
        schedules=[build_weekly_schedule(settings), build_cleanup_schedule(settings), build_status_schedule(settings)],
    )
