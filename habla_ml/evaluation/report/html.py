"""The WER report as one HTML page of `habla_ml.html`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import groupby

from habla_ml.evaluation.comparison.records import Comparison, ModelScore
from habla_ml.evaluation.report import figures, sentences
from habla_ml.evaluation.report.breakdown import DIALECT_FEATURE_LABELS, break_down_test_set, split_features_by_size
from habla_ml.evaluation.report.content import ReportContent
from habla_ml.evaluation.report.deployment_advice import advise_deployment
from habla_ml.evaluation.report.plots import draw_interval_row, draw_versions_chart, round_axis_end
from habla_ml.evaluation.report.scoreboard import build_scoreboard
from habla_ml.evaluation.report.summary import summarise
from habla_ml.evaluation.report.tables import build_confusion_tables, build_tables
from habla_ml.evaluation.scoring.alignment import AlignedWord, align_words
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.html import open_template

_EXAMPLE_TITLES = {
    "improved": "Largest improvements",
    "regressed": "Largest regressions",
    "worst": "Most remaining errors",
}


def render_html(content: ReportContent, flac_by_segment: Mapping[str, bytes]) -> str:
    """Return the whole page; `flac_by_segment` holds the audio of the examples as FLAC, by segment id."""
    comparison = content.comparison
    template = open_template(
        "habla_ml.evaluation.report",
        "report.html.j2",
        percent=figures.percent,
        share=figures.share_with_interval,
        reduction=figures.format_error_reduction,
        change=figures.points_with_interval,
        track=draw_interval_row,
        align=_align_hypothesis,
    )
    rows = build_scoreboard(comparison, content.acceptable)
    return template.render(
        content=content,
        comparison=comparison,
        decision=content.decision,
        verdict_class=content.decision.verdict if content.decision else "none",
        focus=content.focus,
        summary=summarise(content),
        tables=build_tables(content, rows),
        confusion_tables=[
            (each.model, build_confusion_tables(each))
            for each in sorted(comparison.confusions, key=lambda each: each.model)
            if each.words
        ],
        advice=advise_deployment(content, rows),
        series={model.name: model.role for model in comparison.models},
        chart=draw_versions_chart(content.history, content.focus.name),
        error_bars=_list_error_bars(comparison),
        breakdown=break_down_test_set(comparison, content.focus.name),
        features=split_features_by_size(comparison),
        feature_labels=DIALECT_FEATURE_LABELS,
        reasons_shown=sentences.REASONS_SHOWN,
        failures=sentences.describe_failures(comparison),
        method=sentences.describe_method(comparison),
        vocabulary=sentences.describe_vocabulary(comparison),
        diarisation=sentences.describe_diarisation(comparison),
        model_scale=round_axis_end([model.wer.interval for model in comparison.models]),
        examples=[
            (_EXAMPLE_TITLES[kind], list(members))
            for kind, members in groupby(comparison.examples, key=lambda each: each.kind)
        ],
        flac=flac_by_segment,
    )


def _list_error_bars(comparison: Comparison) -> list[tuple[ModelScore, list[float]]]:
    """Return each model with the widths of its substitutions, deletions and insertions in percent of the longest bar."""
    longest = max((model.wer.value or 0.0 for model in comparison.models), default=0.0)
    bars = []
    for model in comparison.models:
        counts = model.word_errors
        whole = longest * counts.reference_words or math.inf
        parts = (counts.substitutions, counts.deletions, counts.insertions)
        bars.append((model, [100 * part / whole for part in parts]))
    return bars


def _align_hypothesis(hypothesis: str, reference: str) -> list[AlignedWord]:
    return align_words(normalise_spanish(reference), normalise_spanish(hypothesis))
