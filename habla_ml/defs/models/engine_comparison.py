"""`engine_comparison`: any versions, engines, options and quantisations side by side; releases nothing."""

import dagster as dg
from pydantic import Field

from habla_ml.defs.code_versions import get_code_version
from habla_ml.defs.models.comparison_metadata import build_evaluation_metadata
from habla_ml.defs.partitions import MODEL_OWNERS
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings


class EngineComparisonConfig(dg.Config):
    """The models to compare, and the speech to compare them on."""

    entrants: list[str] = Field(
        default=["base", "base,quantisation=float32"],
        description="v2, base, a folder or a service, followed by @engine and ,option=value; all pairs are compared.",
    )
    on: str = Field(default="test", description="`test`, a day like 2026-02-16, or the path of a table of clips.")
    measure_speed: bool = Field(default=False, description="Whether to time the models; the machine should be idle.")


def build_engine_comparison(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset; its launchpad takes an `EngineComparisonConfig`."""

    @dg.asset(
        deps=["splits"],
        group_name="models",
        owners=MODEL_OWNERS,
        kinds={"fasterwhisper", "jiwer"},
        code_version=get_code_version("engine_comparison"),
        description=(
            "A paired comparison of any versions, engines, options and quantisations on the same speech: error rates "
            "with intervals, speed, memory, cost, and which acceptance bounds are met. Choose the models in the "
            "launchpad. Hypotheses are cached, so that one more model decodes only its own."
        ),
    )
    def engine_comparison(
        context: dg.AssetExecutionContext, config: EngineComparisonConfig, lake: StoreResource
    ) -> dg.MaterializeResult:
        from habla_ml.evaluation.run import compare_models

        speech, evaluation = compare_models(
            config.entrants,
            config.on,
            lake.lake(),
            settings,
            context.log.info,
            measures_speed=config.measure_speed,
        )
        return dg.MaterializeResult(
            data_version=dg.DataVersion(evaluation.comparison.digest()),
            metadata=build_evaluation_metadata(
                f"{', '.join(model.name for model in evaluation.comparison.models)} on {speech.name}",
                evaluation,
                settings.evaluation.acceptable,
                page={},
                details={"warning": speech.warning or None},
            ),
        )

    return engine_comparison
