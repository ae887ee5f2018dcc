"""Model versions from training to evaluation: assets, the promotion check, and what adds and starts a version."""

import dagster as dg

from habla_ml.defs.models.checkpoint import build_fine_tuned_checkpoint
from habla_ml.defs.models.engine_comparison import build_engine_comparison
from habla_ml.defs.models.exports import build_exports
from habla_ml.defs.models.new_version import build_new_version_job
from habla_ml.defs.models.recipe_sweep import build_recipe_sweep
from habla_ml.defs.models.retraining import build_growth_sensor, build_quarterly_schedule
from habla_ml.defs.models.wer_report import build_promotion_check, build_wer_report
from habla_ml.settings import Settings


def build(settings: Settings) -> dg.Definitions:
    """Return the definitions of model versions."""
    return dg.Definitions(
        assets=[
            build_fine_tuned_checkpoint(settings),
            *build_exports(settings),
            build_wer_report(settings),
            build_engine_comparison(settings),
            build_recipe_sweep(settings),
        ],
        asset_checks=[build_promotion_check(settings)],
        jobs=[build_new_version_job()],
        sensors=[build_growth_sensor(settings)],
        schedules=[build_quarterly_schedule(settings)],
    )
