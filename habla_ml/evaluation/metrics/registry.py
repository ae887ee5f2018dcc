"""All metrics, in the order in which reports show them. A new metric is its module and one row here."""

from __future__ import annotations

from typing import Final

from habla_ml.evaluation.metrics.error_rates import (
    CER,
    DELETIONS,
    INSERTIONS,
    ORTHOGRAPHIC_WER,
    OUT_OF_DOMAIN_WER,
    SUBSTITUTIONS,
    WER,
)
from habla_ml.evaluation.metrics.hallucination import INVENTED_TEXTS, NON_SPEECH_OUTPUT, SHORT_INSERTIONS
from habla_ml.evaluation.metrics.metric import Metric
from habla_ml.evaluation.metrics.punctuation import CAPITALS_F1, PUNCTUATION_F1
from habla_ml.evaluation.metrics.resources import COST, PEAK_GPU_MEMORY, PEAK_MEMORY
from habla_ml.evaluation.metrics.speed import MEDIAN_SPEED, SPEED_95TH_PERCENTILE
from habla_ml.evaluation.metrics.term_recall import TERM_RECALL
from habla_ml.evaluation.metrics.word_timing import WORD_TIMING

METRICS: Final[tuple[Metric, ...]] = (
    WER,
    ORTHOGRAPHIC_WER,
    CER,
    SUBSTITUTIONS,
    DELETIONS,
    INSERTIONS,
    OUT_OF_DOMAIN_WER,
    NON_SPEECH_OUTPUT,
    INVENTED_TEXTS,
    SHORT_INSERTIONS,
    PUNCTUATION_F1,
    CAPITALS_F1,
    TERM_RECALL,
    WORD_TIMING,
    MEDIAN_SPEED,
    SPEED_95TH_PERCENTILE,
    PEAK_MEMORY,
    PEAK_GPU_MEMORY,
    COST,
)
