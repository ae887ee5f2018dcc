"""`engine_comparison`: versions, engines, options and quantisations side by side, for no release."""

import platform
from datetime import datetime

import dagster as dg
from pydantic import Field

from habla_ml.defs.comparison_metadata import build_comparison_metadata
from habla_ml.defs.owners import MODEL_OWNERS
from habla_ml.defs.presentation import file_link
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings


class EngineComparisonConfig(dg.Config):
    """Who meets, and on which speech."""

    entrants: list[str] = Field(
        default=["base", "base,quantisation=float32"],
        description="v2, base, a folder, a service; @engine and ,option=value behind it. Each meets each.",
    )
    on: str = Field(default="test", description="`test`, a day like 2026-02-16, or the path of a table of clips.")


def build_engine_comparison(settings: Settings) -> dg.AssetsDefinition:
    """The asset; open its launchpad to say who shall meet."""

    @dg.asset(
        deps=["splits"],
        group_name="models",
        owners=MODEL_OWNERS,
        kinds={"fasterwhisper", "jiwer"},
        code_version="1",
        description=(
            "Any versions, engines, options and quantisations on the same speech, paired: error rates with intervals, "
            "speed, memory, cost, and which of the acceptable bounds are met. Choose in the launchpad; hypotheses are "
            "cached, so another entrant decodes only its own."
        ),
    )
    def engine_comparison(
        context: dg.AssetExecutionContext, config: EngineComparisonConfig, lake: StoreResource
    ) -> dg.MaterializeResult:
        from habla_ml.evaluation.compare_models import compare_models

        held = compare_models(
            config.entrants,
            config.on,
            lake.lake(),
            settings,
            f"{datetime.now(settings.zone):%Y-%m-%d}",
            context.log.info,
            f"{platform.machine()}, {platform.system()}",
        )
        return dg.MaterializeResult(
            data_version=dg.DataVersion(held.comparison.digest()),
            metadata={
                "on": held.test_speech.name,
                "clips decoded now": held.decoded,
                "report": file_link(held.files.html),
                **({"mind": held.test_speech.warning} if held.test_speech.warning else {}),
                **build_comparison_metadata(held.comparison, settings.evaluation.acceptable),
            },
        )

    return engine_comparison
