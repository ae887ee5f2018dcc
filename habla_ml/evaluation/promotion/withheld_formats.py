"""Export formats that are clearly worse than the served model, and are left out of a release."""

from __future__ import annotations

from collections.abc import Iterator

from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.settings import PromotionSettings


class WithheldFormat(EvaluationRecord):
    """An export that is not released."""

    format: str
    artefact: str
    reason: str


def list_withheld_formats(comparison: Comparison, settings: PromotionSettings) -> Iterator[WithheldFormat]:
    """Yield each format whose WER is surely more than `format_loss_points` above that of the served model.

    A fault of one format does not keep a better model from everybody else, so the other formats are released.
    """
    for each in comparison.formats.scores if comparison.formats else ():
        if each.points is not None and each.points.low > settings.format_loss_points:
            yield WithheldFormat(
                format=each.format,
                artefact=each.artefact,
                reason=(
                    f"The format {each.format} in {each.quantisation} is left out of the release: on {each.clips} clips its "
                    f"WER is {_format_points(each.points)} points above that of the served model, and promotion."
                    f"format_loss_points allows {settings.format_loss_points:g}. Choose a larger type of weights."
                ),
            )


def _format_points(points: Interval) -> str:
    return f"{points.value:.1f} (95 % interval {points.low:.1f} to {points.high:.1f})"
