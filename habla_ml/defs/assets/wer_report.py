"""`wer_report`: base, previous release and candidate side by side, as served."""

import platform
from datetime import datetime
from functools import partial

import dagster as dg

from habla_ml.corpus.conventions import load_conventions
from habla_ml.defs.evidence import present_comparison
from habla_ml.defs.owners import MODEL_OWNERS
from habla_ml.defs.partitions import model_versions
from habla_ml.defs.presentation import file_link
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings
from habla_ml.versions import repeated_version


def build_wer_report(settings: Settings) -> dg.AssetsDefinition:
    """The asset, cut by model version."""

    @dg.asset(
        partitions_def=model_versions,
        deps=["splits", "ctranslate2_model"],
        group_name="models",
        owners=MODEL_OWNERS,
        kinds={"fasterwhisper", "jiwer"},
        code_version="1",
        description=(
            "Base, previous release and this version on the newest test set, decoded as served: WER, orthographic WER "
            "and CER with 95 % intervals over sessions, slices, forgetting on general Spanish, examples to listen to, "
            "and a promotion decision with reasons. Hypotheses are cached: scoring again decodes nothing."
        ),
    )
    def wer_report(
        context: dg.AssetExecutionContext, lake: StoreResource, cdn: StoreResource
    ) -> dg.MaterializeResult:
        from habla_ml.corpus.snapshot import latest_snapshot
        from habla_ml.evaluation.evidence import Surroundings, evaluate_version
        from habla_ml.release.advice import advise_with
        from habla_ml.release.contenders import contenders_of
        from habla_ml.release.override import override_sentence
        from habla_ml.release.seeds import siblings_of

        opened, version = lake.lake(), context.partition_key
        evidence = evaluate_version(
            opened,
            version,
            latest_snapshot(opened),
            contenders_of(opened, cdn.store(), version, settings, context.log.info),
            load_conventions(settings.corpus.conventions),
            settings,
            settings.work_folder / "reports" / version,
            f"{datetime.now(settings.zone):%Y-%m-%d}",
            context.log.info,
            hardware=f"{platform.machine()}, {platform.system()}",
            around=Surroundings(
                siblings=siblings_of(opened, version, settings.work_folder),
                # A repeat says nothing about the hours that there are.
                advise=_no_advice
                if repeated_version(version)
                else partial(advise_with, opened, settings, version),
                overridden=partial(override_sentence, opened, version),
            ),
        )
        return dg.MaterializeResult(
            data_version=dg.DataVersion(evidence.comparison.digest()),
            metadata={
                "verdict": evidence.decision.verdict,
                "why": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in evidence.decision.reasons)),
                "clips decoded now": evidence.decoded,
                "report": file_link(evidence.files.html),
                **present_comparison(evidence.comparison, settings.evaluation.acceptable),
            },
        )

    return wer_report


def _no_advice(_: object) -> None:
    return None
