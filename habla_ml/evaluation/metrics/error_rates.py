"""Error rates: WER, orthographic WER, CER, kinds of word errors, and the WER on general Spanish."""

from __future__ import annotations

from typing import Any, Literal

from habla_ml.evaluation.metrics.inputs import MetricInputs
from habla_ml.evaluation.metrics.metric import Metric, MetricTable, ReleaseGuard, tabulate_rates
from habla_ml.evaluation.scoring.rates import stack_counts
from habla_ml.evaluation.scoring.statistics import Counts, Resample

CountedErrors = Literal["words", "characters", "orthographic", "substitutions", "deletions", "insertions"]


def resample_errors(inputs: MetricInputs) -> dict[CountedErrors, Resample]:
    """Draw every kind of error on the test set, all on the same draws: one column for each model."""
    models = inputs.test.models
    words = [model.words for model in models]
    counts: dict[CountedErrors, Counts] = {
        "words": stack_counts(words),
        "characters": stack_counts([model.characters for model in models]),
        "orthographic": stack_counts([model.orthographic for model in models]),
        "substitutions": stack_counts(words, "substitutions"),
        "deletions": stack_counts(words, "deletions"),
        "insertions": stack_counts(words, "insertions"),
    }
    return dict(zip(counts, inputs.test.draws.resample(list(counts.values())), strict=True))


def _make_error_rate(name: str, label: str, counted: CountedErrors, **rest: Any) -> Metric:
    def measure(inputs: MetricInputs) -> MetricTable:
        return tabulate_rates(inputs.compute_once(resample_errors)[counted], inputs.pairs)

    return Metric(name, label, "share", measure, **rest)


def _measure_out_of_domain_wer(inputs: MetricInputs) -> MetricTable:
    speech = inputs.out_of_domain
    if speech is None:
        return MetricTable([None] * len(inputs.models))
    (resample,) = speech.draws.resample([stack_counts([model.words for model in speech.models])])
    return tabulate_rates(resample, inputs.pairs)


WER = _make_error_rate(
    "wer",
    "WER",
    "words",
    acceptable_bound=lambda bounds, _: bounds.wer,
    help="Word error rate: wrong words of 100 spoken words, without capitals and punctuation.",
)
"""Words after the Spanish normaliser."""
ORTHOGRAPHIC_WER = _make_error_rate(
    "orthographic_wer",
    "WER as written",
    "orthographic",
    help="Wrong words of 100 where capitals and punctuation count too.",
)
"""Words as written: case, punctuation and accents count."""
CER = _make_error_rate(
    "cer",
    "CER",
    "characters",
    acceptable_bound=lambda bounds, _: bounds.cer,
    help="Character error rate: wrong letters of 100.",
)
"""Characters after the Spanish normaliser; spaces are characters."""
SUBSTITUTIONS = _make_error_rate(
    "substitutions", "substituted words", "substitutions", help="Another word was written: casa for caza."
)
DELETIONS = _make_error_rate(
    "deletions",
    "deleted words",
    "deletions",
    help="A spoken word is missing.",
    guard=ReleaseGuard(lambda settings: settings.deletion_loss_points, "deletes more words", "of the words"),
)
INSERTIONS = _make_error_rate(
    "insertions", "inserted words", "insertions", help="A word was written that was not spoken."
)
OUT_OF_DOMAIN_WER = Metric(
    "out_of_domain_wer",
    "WER on general Spanish",
    "share",
    _measure_out_of_domain_wer,
    help="Wrong words of 100 in Spanish from outside the classroom; it shows what the training has forgotten.",
    guard=ReleaseGuard(
        lambda settings: settings.out_of_domain_loss_points,
        "makes more errors on general Spanish",
        "of the words",
        against=("base",),
    ),
)
