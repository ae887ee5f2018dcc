"""`engine_comparison`: any versions, engines, options and quantisations side by side; releases nothing."""

import platform
from datetime import datetime

import dagster as dg
from pydantic import Field

from habla_ml.defs.models.comparison_metadata import build_comparison_metadata
from habla_ml.defs.owners import MODEL_OWNERS
from habla_ml.defs.presentation import file_link
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings


class EngineComparisonConfig(dg.Config):
    """The models to compare, and the speech to compare them on."""

    entrants: list[str] = Field(
        default=["base", "base,quantisation=float32"],
        description="v2, base, a folder or a service, followed by @engine and ,option=value; all pairs are compared.",
    )
    on: str = Field(default="test", description="`test`, a day like 2026-02-16, or the path of a table of clips.")


def build_engine_comparison(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset; its launchpad takes an `EngineComparisonConfig`."""

    @dg.asset(
        deps=["splits"],
        group_name="models",
        owners=MODEL_OWNERS,
        kinds={"fasterwhisper", "jiwer"},
        code_version="1",
        description=(
            "A paired comparison of any versions, engines, options and quantisations on the same speech: error rates "
            "with intervals, speed, memory, cost, and which acceptance bounds are met. Choose the models in the "
            "launchpad. Hypotheses are cached, so that one more model decodes only its own."
        ),
    )
    def engine_comparison(
        context: dg.AssetExecutionContext, config: EngineComparisonConfig, lake: StoreResource
    ) -> dg.MaterializeResult:
        from habla_ml.evaluation.compare_models import compare_models

        compared = compare_models(
            config.entrants,
            config.on,
            lake.lake(),
            settings,
            f"{datetime.now(settings.zone):%Y-%m-%d}",
            context.log.info,
            f"{platform.machine()}, {platform.system()}",
        )
        return dg.MaterializeResult(
            data_version=dg.DataVersion(compared.comparison.digest()),
            metadata={
                "on": compared.test_speech.name,
                "clips decoded now": compared.decoded,
                "report": file_link(compared.files.html),
                **({"warning": compared.test_speech.warning} if compared.test_speech.warning else {}),
                **build_comparison_metadata(compared.comparison, settings.evaluation.acceptable),
            },
        )

    return engine_comparison
