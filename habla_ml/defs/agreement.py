"""How far people differ who transcribed the same segment, as the UI shows it and as a check."""

from typing import Any

import dagster as dg

from habla_ml.corpus.conventions import Conventions, load_conventions
from habla_ml.defs.presentation import table, to_percent
from habla_ml.defs.resources import StoreResource
from habla_ml.lake import Lake
from habla_ml.settings import Settings

_MOST_PAIRS = 20


def build_agreement_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """The check that people agree on a day's texts, under the bound of the settings."""
    conventions = load_conventions(settings.corpus.conventions)
    bound = settings.annotation.most_disagreement

    @dg.asset_check(
        asset="annotated_corpus",
        description=(
            f"Where two people transcribed a segment of the day, they differ on at most {bound:.0%} of its words. "
            "Judged by the interval over sessions where there is one, so that a single odd segment is no alarm."
        ),
    )
    def annotators_agree(context: dg.AssetCheckExecutionContext, lake: StoreResource) -> dg.AssetCheckResult:
        from habla_ml.corpus.agreement import measure_agreement
        from habla_ml.evaluation.scoring.normalisation import normalise_spanish

        found = measure_agreement(lake.lake(), conventions, normalise_spanish, [context.partition_key])
        surely = found.wer.interval[0] if found.wer.interval else found.wer.value
        return dg.AssetCheckResult(
            passed=surely <= bound,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"Annotators differ: {found.summary}.",
            metadata={
                "disagreement WER %": to_percent(found.wer.value),
                "disagreement CER %": to_percent(found.cer.value),
                "segments": found.segments,
                "one says unusable": found.usability_conflicts,
                "bound %": to_percent(bound),
                "pairs": table(
                    (vars(pair) for pair in found.pairs[:_MOST_PAIRS]),
                    ["first", "second", "segments", "identical", "wer", "cer"],
                ),
            },
        )

    return [annotators_agree]


def build_floor_metadata(lake: Lake, conventions: Conventions) -> dict[str, Any]:
    """The floor of the WER over the whole corpus: how far people themselves differ; reads every day's events."""
    from habla_ml.corpus.agreement import measure_agreement
    from habla_ml.evaluation.scoring.normalisation import normalise_spanish

    found = measure_agreement(lake, conventions, normalise_spanish)
    figures = {"floor WER %": to_percent(found.wer.value)} if found.comparisons else {}
    return {"floor (people among themselves)": found.summary, **figures}
