"""`wer_report`: base model, current release and candidate on the same test set, with the promotion check."""

import platform
from datetime import datetime
from functools import partial

import dagster as dg

from habla_ml.corpus.conventions import load_conventions
from habla_ml.defs.models.comparison_metadata import build_comparison_metadata
from habla_ml.defs.owners import MODEL_OWNERS
from habla_ml.defs.partitions import model_versions
from habla_ml.defs.presentation import bullet_list, file_link
from habla_ml.defs.resources import StoreResource
from habla_ml.export.registry import SERVED
from habla_ml.model_version import parent_version
from habla_ml.settings import Settings


def build_wer_report(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset, partitioned by model version."""

    @dg.asset(
        partitions_def=model_versions,
        deps=["splits", SERVED.asset_name],
        group_name="models",
        owners=MODEL_OWNERS,
        kinds={"fasterwhisper", "jiwer"},
        code_version="1",
        description=(
            "Base model, current release and this version on the newest test set, decoded as served: WER, orthographic "
            "WER and CER with 95 % intervals over sessions, slices, forgetting on general Spanish, examples to listen "
            "to, and a promotion decision with reasons. Hypotheses are cached: scoring again decodes nothing."
        ),
    )
    def wer_report(
        context: dg.AssetExecutionContext, lake: StoreResource, cdn: StoreResource
    ) -> dg.MaterializeResult:
        from habla_ml.corpus.snapshot import load_latest_snapshot
        from habla_ml.evaluation.comparison.models_under_test import prepare_evaluated_models
        from habla_ml.evaluation.comparison.seed_siblings import find_seed_siblings
        from habla_ml.evaluation.promotion.advice_inputs import advise_for_version
        from habla_ml.evaluation.run import ReportContext, evaluate_version
        from habla_ml.release.override import describe_override

        opened, version = lake.lake(), context.partition_key
        # A replicate does not show whether more hours would help.
        advise = _no_advice if parent_version(version) else partial(advise_for_version, opened, settings, version)
        evidence = evaluate_version(
            opened,
            version,
            load_latest_snapshot(opened),
            prepare_evaluated_models(opened, cdn.store(), version, settings, context.log.info),
            load_conventions(settings.corpus.conventions),
            settings,
            settings.work_folder / "reports" / version,
            f"{datetime.now(settings.zone):%Y-%m-%d}",
            context.log.info,
            hardware=f"{platform.machine()}, {platform.system()}",
            context=ReportContext(
                siblings=find_seed_siblings(opened, version, settings.work_folder),
                advise=advise,
                find_override=partial(describe_override, opened, version),
            ),
        )
        return dg.MaterializeResult(
            data_version=dg.DataVersion(evidence.comparison.digest()),
            metadata={
                "verdict": evidence.decision.verdict,
                "why": bullet_list(evidence.decision.reasons),
                "clips decoded now": evidence.decoded,
                "report": file_link(evidence.files.html),
                **build_comparison_metadata(evidence.comparison, settings.evaluation.acceptable),
            },
        )

    return wer_report


def build_promotion_check(settings: Settings) -> dg.AssetChecksDefinition:
    """Return the check that the promotion rule allows the version."""

    @dg.asset_check(
        asset="wer_report",
        description="The promotion rule allows a release of this version. A refusal is an outcome, not a fault.",
    )
    def promotion_rule(context: dg.AssetCheckExecutionContext, lake: StoreResource) -> dg.AssetCheckResult:
        from habla_ml.evaluation.promotion.rule import decide
        from habla_ml.evaluation.run import read_stored_comparison

        decision = decide(read_stored_comparison(lake.lake(), context.partition_key), settings.promotion)
        return dg.AssetCheckResult(
            passed=decision.verdict == "deploy",
            severity=dg.AssetCheckSeverity.WARN,
            description=" ".join(decision.reasons),
            metadata={"verdict": decision.verdict},
        )

    return promotion_rule


def _no_advice(_: object) -> None:
    return None
