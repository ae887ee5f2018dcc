"""Error rates: WER, orthographic WER, CER, kinds of word errors, and the WER on general Spanish."""

from __future__ import annotations

from dataclasses import dataclass

from habla_ml.evaluation.metrics.inputs import MetricInputs
from habla_ml.evaluation.metrics.metric import Metric, MetricTable, ReleaseGuard, tabulate_rates
from habla_ml.evaluation.scoring.rates import stack_counts
from habla_ml.evaluation.scoring.statistics import Resample


@dataclass(frozen=True)
class ErrorResamples:
    """The error counts of all models on the test set, on the same draws: one column for each model."""

    words: Resample
    characters: Resample
    orthographic: Resample
    substitutions: Resample
    deletions: Resample
    insertions: Resample


def resample_errors(inputs: MetricInputs) -> ErrorResamples:
    """Draw every kind of error of every model."""
    models = inputs.test.models
    words = [model.words for model in models]
    return ErrorResamples(
        *inputs.test.draws.resample(
            [
                stack_counts(words),
                stack_counts([model.characters for model in models]),
                stack_counts([model.orthographic for model in models]),
                stack_counts(words, "substitutions"),
                stack_counts(words, "deletions"),
                stack_counts(words, "insertions"),
            ]
        )
    )


def _measure_wer(inputs: MetricInputs) -> MetricTable:
    return tabulate_rates(inputs.compute_once(resample_errors).words, inputs.pairs)


def _measure_orthographic_wer(inputs: MetricInputs) -> MetricTable:
    return tabulate_rates(inputs.compute_once(resample_errors).orthographic, inputs.pairs)


def _measure_cer(inputs: MetricInputs) -> MetricTable:
    return tabulate_rates(inputs.compute_once(resample_errors).characters, inputs.pairs)


def _measure_substitutions(inputs: MetricInputs) -> MetricTable:
    return tabulate_rates(inputs.compute_once(resample_errors).substitutions, inputs.pairs)


def _measure_deletions(inputs: MetricInputs) -> MetricTable:
    return tabulate_rates(inputs.compute_once(resample_errors).deletions, inputs.pairs)


def _measure_insertions(inputs: MetricInputs) -> MetricTable:
    return tabulate_rates(inputs.compute_once(resample_errors).insertions, inputs.pairs)


def _measure_out_of_domain_wer(inputs: MetricInputs) -> MetricTable:
    speech = inputs.out_of_domain
    if speech is None:
        return MetricTable([None] * len(inputs.models))
    (resample,) = speech.draws.resample([stack_counts([model.words for model in speech.models])])
    return tabulate_rates(resample, inputs.pairs)


WER = Metric("wer", "WER", "share", _measure_wer, acceptable_bound=lambda bounds, _: bounds.wer)
"""Words after the Spanish normaliser."""
ORTHOGRAPHIC_WER = Metric("orthographic_wer", "WER as written", "share", _measure_orthographic_wer)
"""Words as written: case, punctuation and accents count."""
CER = Metric("cer", "CER", "share", _measure_cer, acceptable_bound=lambda bounds, _: bounds.cer)
"""Characters after the Spanish normaliser; spaces are characters."""
SUBSTITUTIONS = Metric("substitutions", "substituted words", "share", _measure_substitutions)
DELETIONS = Metric(
    "deletions",
    "deleted words",
    "share",
    _measure_deletions,
    guard=ReleaseGuard(lambda settings: settings.deletion_loss_points, "deletes more words", "of the words"),
)
INSERTIONS = Metric("insertions", "inserted words", "share", _measure_insertions)
OUT_OF_DOMAIN_WER = Metric(
    "out_of_domain_wer",
    "WER on general Spanish",
    "share",
    _measure_out_of_domain_wer,
    guard=ReleaseGuard(
        lambda settings: settings.out_of_domain_loss_points,
        "makes more errors on general Spanish",
        "of the words",
        against=("base",),
        needs_significance=False,
    ),
)
