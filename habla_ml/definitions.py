"""Assembly only: settings in, Dagster definitions out."""

from __future__ import annotations

import dagster as dg

from habla_ml.defs.agreement import build_agreement_checks
from habla_ml.defs.annotation_sensors import build_annotation_sensors
from habla_ml.defs.assets import build_assets
from habla_ml.defs.automation import build_schedules, build_sensors
from habla_ml.defs.checks import build_checks
from habla_ml.defs.consent import build_consent_checks
from habla_ml.defs.jobs import build_jobs
from habla_ml.defs.resources import build_resources
from habla_ml.settings import Settings, load_settings


def build_definitions(settings: Settings) -> dg.Definitions:
    """Everything the code location offers, for these settings; tests call it with their own."""
    return dg.Definitions(
        assets=build_assets(settings),
        asset_checks=[*build_checks(settings), *build_agreement_checks(settings), *build_consent_checks(settings)],
        jobs=build_jobs(),
        sensors=[*build_sensors(settings), *build_annotation_sensors(settings)],
        schedules=build_schedules(settings),
        resources=build_resources(settings),
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The code location that `workspace.yaml` loads, under the profile named by HABLA_PROFILE."""
    return build_definitions(load_settings())
