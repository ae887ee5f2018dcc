"""The word error rate over jiwer, as a metric module of Hugging Face `evaluate`.

Load it by path, `evaluate.load("…/scoring/habla_wer")`: `evaluate.load("wer")` would download it. Normalise the texts
first; the metric compares them unchanged.
"""

from __future__ import annotations

import datasets  # noqa: TID253 - evaluate loads this file as a script; nothing imports it
import evaluate  # noqa: TID253
import jiwer

_DESCRIPTION = """\
WER = (S + D + I) / (S + D + H): substituted, deleted and inserted words over the words of the reference, summed
over all utterances before the division. With an empty reference, every hypothesis word is an insertion.
"""

_INPUTS = """\
Args:
    predictions: hypotheses, one string each.
    references: reference texts, one string each.
Returns:
    wer, substitutions, deletions, insertions, hits. wer is None without reference words.
"""


class HablaWer(evaluate.Metric):  # type: ignore[misc]
    """Corpus word error rate with its counts."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="Morris, Maier and Green, From WER and RIL to MER and WIL, Interspeech 2004",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float | int | None]:
        found = jiwer.process_words(references, predictions)
        words = found.hits + found.substitutions + found.deletions
        return {
            "wer": found.wer if words else None,
            "substitutions": found.substitutions,
            "deletions": found.deletions,
            "insertions": found.insertions,
            "hits": found.hits,
        }
