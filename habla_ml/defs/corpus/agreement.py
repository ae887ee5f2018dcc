"""Agreement between annotators: the check on a day and the WER floor of the corpus."""

from typing import Any

import dagster as dg

from habla_ml.corpus.conventions import Conventions, load_conventions
from habla_ml.defs.presentation import tabulate_examples, to_percent
from habla_ml.defs.resources import StoreResource
from habla_ml.lake import Lake
from habla_ml.settings import Settings

_MOST_PAIRS = 20


def build_agreement_check(settings: Settings) -> dg.AssetChecksDefinition:
    """Return the check that annotators agree on a day's texts, up to `annotation.most_disagreement`."""
    conventions = load_conventions(settings.corpus.conventions)
    bound = settings.annotation.most_disagreement

    @dg.asset_check(
        asset="annotated_corpus",
        description=(
            f"Two people who transcribed the same segment of the day differ on at most {bound:.0%} of its words. Uses "
            "the lower end of the interval over sessions where there is one, so that one odd segment is no alarm. If it "
            "fails, look at the pairs and agree on the conventions."
        ),
    )
    def annotators_agree(context: dg.AssetCheckExecutionContext, lake: StoreResource) -> dg.AssetCheckResult:
        from habla_ml.corpus.agreement import measure_agreement
        from habla_ml.evaluation.scoring.normalisation import normalise_spanish_pair

        found = measure_agreement(lake.lake(), conventions, normalise_spanish_pair, [context.partition_key])
        lowest = found.wer.interval[0] if found.wer.interval else found.wer.value
        return dg.AssetCheckResult(
            passed=lowest <= bound,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"Annotators differ: {found.summary}.",
            metadata={
                "disagreement WER %": to_percent(found.wer.value),
                "disagreement CER %": to_percent(found.cer.value),
                "segments": found.segments,
                "unusable for one only": found.usability_conflicts,
                "bound %": to_percent(bound),
                "pairs": tabulate_examples(
                    map(vars, found.pairs[:_MOST_PAIRS]), ["first", "second", "segments", "identical", "wer", "cer"]
                ),
            },
        )

    return annotators_agree


def build_floor_metadata(lake: Lake, conventions: Conventions) -> dict[str, Any]:
    """Return how far annotators differ over the whole corpus, a floor of the WER; reads the events of every day."""
    from habla_ml.corpus.agreement import measure_agreement
    from habla_ml.evaluation.scoring.normalisation import normalise_spanish_pair

    blind = measure_agreement(lake, conventions, normalise_spanish_pair, only_blind=True)
    found = measure_agreement(lake, conventions, normalise_spanish_pair)
    figures = {"floor WER %": to_percent(found.wer.value)} if found.comparisons else {}
    return {"floor (between annotators)": found.summary, **figures, "floor (blind texts alone)": blind.summary}
