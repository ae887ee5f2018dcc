"""`wer_report`: base model, current release and candidate on the same test set, with the promotion check."""

import dagster as dg

from habla_ml.defs.code_versions import get_code_version
from habla_ml.defs.models.comparison_metadata import build_evaluation_metadata
from habla_ml.defs.partitions import MODEL_OWNERS, model_versions
from habla_ml.defs.presentation import link_service_page, name_lineage
from habla_ml.defs.resources import StoreResource
from habla_ml.export.registry import SERVED, list_asset_exporters
from habla_ml.settings import Settings


def build_wer_report(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset, partitioned by model version."""

    @dg.asset(
        partitions_def=model_versions,
        deps=["splits", SERVED.asset_name, *_list_decoded_exports(settings)],
        group_name="models",
        owners=MODEL_OWNERS,
        kinds={"fasterwhisper", "jiwer"},
        code_version=get_code_version("wer_report"),
        description=(
            "Base model, current release and this version on the newest test set, decoded as served: WER, orthographic "
            "WER and CER with 95 % intervals over sessions, slices, forgetting on general Spanish, examples to listen "
            "to, each export format on a sample, and a promotion decision with reasons. Hypotheses are cached: scoring "
            "again decodes nothing."
        ),
    )
    def wer_report(context: dg.AssetExecutionContext, lake: StoreResource, cdn: StoreResource) -> dg.MaterializeResult:
        from habla_ml.evaluation.comparison.models_under_test import prepare_evaluated_models
        from habla_ml.evaluation.comparison.test_speech import TEST, load_test_speech
        from habla_ml.evaluation.run import run_evaluation
        from habla_ml.release.channel import read_channel

        opened, version, log = lake.lake(), context.partition_key, context.log.info
        release = read_channel(cdn.store(), settings.release.channel).find_release_to_beat(version)
        evaluation = run_evaluation(
            opened,
            settings,
            load_test_speech(TEST, opened, settings),
            prepare_evaluated_models(opened, release, version, settings, log),
            log,
        )
        return dg.MaterializeResult(
            data_version=dg.DataVersion(evaluation.comparison.digest()),
            metadata=build_evaluation_metadata(
                f"{version} on the test set, beside the base model and the current release",
                evaluation,
                settings.evaluation.acceptable,
                page=link_service_page(settings, f"/reports/{version}"),
                details=name_lineage(settings, version),
            ),
        )

    return wer_report


def _list_decoded_exports(settings: Settings) -> list[str]:
    """Return the assets of the formats of which the report decodes a sample."""
    if settings.evaluation.format_clips == 0:
        return []
    return [each.asset_name for each in list_asset_exporters(settings.export) if each.sample_decoding is not None]


def build_promotion_check(settings: Settings) -> dg.AssetChecksDefinition:
    """Return the check that the promotion rule allows the version."""

    @dg.asset_check(
        asset="wer_report",
        description="The promotion rule allows a release of this version. A refusal is an outcome; an alarm is an error. "
        "The reasons are in the report; correct more speech for the next version.",
    )
    def promotion_rule(context: dg.AssetCheckExecutionContext, lake: StoreResource) -> dg.AssetCheckResult:
        from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
        from habla_ml.evaluation.promotion.rule import decide

        decision = decide(read_stored_comparison(lake.lake(), context.partition_key), settings.promotion)
        return dg.AssetCheckResult(
            passed=decision.verdict == "deploy",
            severity=dg.AssetCheckSeverity.ERROR if decision.alarms else dg.AssetCheckSeverity.WARN,
            description=" ".join(decision.reasons),
            metadata={"verdict": decision.verdict},
        )

    return promotion_rule
