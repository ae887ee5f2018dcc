"""Whether the evidence can be right: a test set that is large enough, and an error rate that is not too good."""

from __future__ import annotations

from collections.abc import Iterator

from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.scoring.rates import format_percent
from habla_ml.settings import PromotionSettings


def list_alarms(comparison: Comparison) -> Iterator[str]:
    """Yield one sentence per sign that the error rate of the candidate is too good to be true."""
    candidate, annotators = comparison.model("candidate"), comparison.annotators
    wer = None if candidate is None else candidate.wer.value
    if candidate is None or wer is None:
        return
    if wer == 0:
        yield (
            f"Alarm: {candidate.name} makes no error in {comparison.test.words} words, which no recogniser does. Check "
            "that the test sentences are not in its training and that people corrected them. Release it only with a "
            "signed override."
        )
    elif annotators is not None and annotators.low is not None and wer < annotators.low:
        yield (
            f"Alarm: the WER of {candidate.name} is {format_percent(wer, 1)}, below the lower end "
            f"({format_percent(annotators.low, 1)}) of the {format_percent(annotators.wer, 1)} in which two people differ who "
            f"transcribed the same {annotators.segments} segments. Check that the "
            "references were not copied from a model. Release it only with a signed override."
        )


def list_size_shortcomings(comparison: Comparison, settings: PromotionSettings) -> Iterator[str]:
    """Yield one sentence per reason why the test set is too small to decide."""
    test, change = comparison.test, comparison.change("base")
    if test.sessions < settings.fewest_test_sessions:
        yield (
            f"The test set has {test.sessions} sessions; a reliable interval needs at least "
            f"{settings.fewest_test_sessions}. Correct more sessions."
        )
    if test.words < settings.fewest_test_words:
        yield (
            f"The test set has {test.words} words; a release needs at least {settings.fewest_test_words}. Correct more "
            "sessions."
        )
    evidence = None if change is None else change.superiority
    if evidence is not None and evidence.effective_units < settings.fewest_effective_sessions:
        unit = comparison.method.unit
        yield (
            f"Weighted by their words, the test set has {evidence.effective_units:.1f} effective {unit}s of "
            f"{test.sessions} sessions, because few have most of the words; a release needs at least "
            f"{settings.fewest_effective_sessions:g}. Correct more {unit}s."
        )
