"""The report as Markdown, for a pull request or a model card, in the order of the evaluation framework's template."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from habla_ml.evaluation.comparison.records import Comparison, Slice
from habla_ml.evaluation.promotion.advice import Advice
from habla_ml.evaluation.report import figures
from habla_ml.evaluation.report.breakdown import (
    PHENOMENON_LABELS,
    break_down_test_set,
    describe_conditions,
    list_decoding_languages,
    too_small,
)
from habla_ml.evaluation.report.content import Content
from habla_ml.evaluation.report.deployment_advice import advise_deployment
from habla_ml.evaluation.report.scoreboard import ScoreboardCell, ScoreboardRow, scoreboard
from habla_ml.evaluation.report.seed_spread import format_seed_spread
from habla_ml.evaluation.report.sentences import (
    REASONS_SHOWN,
    describe_chance,
    describe_diarisation,
    describe_failures,
)
from habla_ml.evaluation.report.summary import describe_detectable_difference, describe_small_test_set, summarise

THRESHOLD_STATUS_LABELS: Final = {"met": "met", "unsure": "not sure", "missed": "not met"}
_RECORD_FILES: Final = [["every utterance", "utterances.parquet"], ["every wrong word", "word\\_errors.parquet"]]
_SPECIAL_CHARACTERS = re.compile(r"([\\`*_{}\[\]<>#|~&$]|^[-+]|(?<=:)//|(?<=www)\.)")


def escape_markdown(text: str) -> str:
    """Any text as plain words in Markdown: one line, nothing that formats, links or closes a table cell."""
    return _SPECIAL_CHARACTERS.sub(r"\\\1", " ".join(text.split()))


def render_markdown(content: Content) -> str:
    """The same figures as the HTML page, without sound."""
    comparison = content.comparison
    summary, rows = summarise(content), scoreboard(comparison, content.acceptable)
    advice = advise_deployment(content, rows)
    opening = [
        f"**{summary.verdict}.**",
        summary.result,
        summary.confidence,
        *summary.by_loudness,
        summary.general_speech,
        summary.seeds,
    ]
    reasons = list(content.decision.reasons if content.decision else ())
    if content.override:
        reasons.insert(0, f"A person decided otherwise: {content.override}")
    parts: dict[str, str] = {
        f"# {escape_markdown(summary.headline)}": " ".join(
            escape_markdown(each) if at else each for at, each in enumerate(opening) if each
        ),
        "## Why": _render_list(reasons),
        "## Test set": _render_test_set(content),
        "## Side by side": _render_scoreboard(comparison, rows),
        "## Recommendation": escape_markdown(advice.recommendation),
        "## Trade-offs": _render_list(advice.trade_offs),
        "## Migration path": _render_list(advice.migration)
        + (f"\n\nRollback: `{_strip_backticks(advice.rollback)}`" if advice.rollback else ""),
        "## Versions over time": _render_history(content) if len(content.history) > 1 else "",
        "## Seeds": _render_seeds(comparison),
        "## Should I fine-tune? How many more hours?": _render_training_advice(content.should_train),
        "## Changes": _render_changes(comparison),
        "## Slices": _render_slices(comparison, content.focus.name),
        "## Andalusian phenomena": _render_phenomena(comparison),
        "## Domain words": _render_vocabulary(comparison),
        "## Confusions": _render_confusions(comparison, content.focus.name),
        "## What is invented": _render_hallucinations(comparison),
        "## Word times and speakers": _render_word_timing(comparison),
        "## Failures": _render_list(describe_failures(comparison)),
        "## Examples": _render_examples(comparison),
        "## Provenance": _render_provenance(content),
    }
    return "\n\n".join(f"{title}\n\n{text}" for title, text in parts.items() if text) + "\n"


def _render_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) if rows else ""


def _render_list(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {escape_markdown(each)}" for each in sentences)


def _strip_backticks(text: str) -> str:
    """Inside backticks nothing can be escaped: what could end them, or the line, is dropped."""
    return " ".join(text.replace("`", "").split())


def _render_test_set(content: Content) -> str:
    test, source = content.comparison.test, content.comparison.provenance
    few = describe_small_test_set(content)
    rows = [
        ["description", "speech kept for testing, never trained on; scored as served"],
        [
            "size",
            f"{test.utterances} clips, {test.words} words, {test.sessions} sessions, {figures.minutes(test.duration_s)}"
            + (f"; {few}" if few else ""),
        ],
        ["languages", escape_markdown(list_decoding_languages(content.comparison))],
        ["conditions", escape_markdown("; ".join(describe_conditions(content.comparison))) or figures.NO_VALUE],
        ["hardware", escape_markdown(source.hardware or figures.NO_VALUE)],
        ["date", escape_markdown(content.date or figures.NO_VALUE)],
    ]
    return _render_table(["", ""], rows)


def _render_scoreboard(comparison: Comparison, rows: Sequence[ScoreboardRow]) -> str:
    head = [
        "metric",
        *(f"{escape_markdown(model.name)} ({model.role})" for model in comparison.models),
        "winner",
        "acceptable",
    ]
    return _render_table(
        head,
        [
            [row.metric, *(_render_cell(each) for each in row.cells), escape_markdown(row.winner), row.bound]
            for row in rows
            if row.is_measured
        ],
    )


def _render_cell(cell: ScoreboardCell) -> str:
    return f"{cell.text}, {THRESHOLD_STATUS_LABELS[cell.threshold_status]}" if cell.threshold_status else cell.text


def _render_history(content: Content) -> str:
    return _render_table(
        ["version", "WER (95 %)"],
        [[escape_markdown(name), figures.share_with_interval(interval)] for name, interval in content.history],
    )


def _render_seeds(comparison: Comparison) -> str:
    found = comparison.seeds
    if found is None:
        return ""
    rows = [[escape_markdown(each.version), figures.percent(each.wer)] for each in found.runs]
    return _render_table(
        ["trained with a seed of its own", "WER"], [*rows, ["mean ± spread", format_seed_spread(found)]]
    )


def _render_training_advice(advice: Advice | None) -> str:
    if advice is None:
        return ""
    rows = [
        [
            f"+{each.more_hours:g} h",
            figures.share_with_interval(each.wer),
            figures.share_with_interval(each.reduction),
            each.probability_text,
        ]
        for each in advice.forecasts
    ]
    table = _render_table(
        ["more speech to train on", "WER", "of today's errors removed", describe_chance(advice)], rows
    )
    reasons = _render_list(advice.reasons[:REASONS_SHOWN])
    return "\n\n".join(each for each in (f"**{escape_markdown(advice.headline)}.**", reasons, table) if each)


def _render_word_timing(comparison: Comparison) -> str:
    """Where words begin and end, and who speaks, against what people marked."""
    rows = []
    for model in comparison.models:
        if (found := model.word_timing) is not None:
            edges = [
                f"{each.mean_absolute_ms:.0f}\u00a0ms" if each else "–" for each in (found.starts, found.ends)
            ]
            compared = f"{found.matched_words} of {found.reference_words}"
            rows.append(
                [escape_markdown(model.name), figures.milliseconds(found.mean_absolute_ms), *edges, compared]
            )
    table = _render_table(["version", "mean error of word times", "of starts", "of ends", "words compared"], rows)
    return "\n\n".join(each for each in (table, escape_markdown(describe_diarisation(comparison))) if each)


def _render_changes(comparison: Comparison) -> str:
    table = _render_table(
        ["of", "against", "errors", "WER, points", "missing, points", "too many, points", "other Spanish, points"],
        [
            [
                escape_markdown(change.of),
                escape_markdown(change.against),
                figures.format_error_reduction(change.relative_improvement),
                figures.points_with_interval(change.points),
                figures.points_with_interval(change.deletion_points),
                figures.points_with_interval(change.insertion_points),
                figures.points_with_interval(change.out_of_domain_points),
            ]
            for change in comparison.changes
        ],
    )
    said = [
        f"{each.of} against {each.against}: {describe_detectable_difference(each)}"
        for each in comparison.changes
        if describe_detectable_difference(each)
    ]
    return "\n\n".join(each for each in (table, _render_list(said)) if each)


def _render_slices(comparison: Comparison, focus: str) -> str:
    """Dimension by dimension; of the speakers only those that one may speak of."""
    breakdown = break_down_test_set(comparison, focus)
    speakers = [each for each in comparison.slices if each.dimension == "speaker"]
    large = [each for each in speakers if not each.too_small]
    rows = [_build_slice_row(dimension, each) for dimension, members in breakdown.groups for each in members]
    head = [
        "of",
        "slice",
        "words",
        "sessions",
        *[escape_markdown(model.name) for model in comparison.models],
        "errors",
        "note",
    ]
    notes = [escape_markdown(breakdown.missing_dimensions)] if breakdown.missing_dimensions else []
    if small := len(speakers) - len(large):
        notes.append(f"{small} {'speaker is' if small == 1 else 'speakers are'} too small to speak of.")
    table = _render_table(head, [*rows, *(_build_slice_row("Speaker", each) for each in large)])
    return "\n\n".join(each for each in (table, *notes) if each)


def _build_slice_row(dimension: str, each: Slice) -> list[str]:
    return [
        dimension,
        escape_markdown(each.name),
        str(each.words),
        str(each.sessions),
        *[figures.rate_with_interval(rate.rate) for rate in each.rates],
        figures.NO_VALUE if each.too_small else figures.format_error_reduction(each.improvement),
        each.too_small or "",
    ]


def _render_phenomena(comparison: Comparison) -> str:
    names = [escape_markdown(model.name) for model in comparison.models]
    rows = []
    for each in comparison.dialect_features:
        small = too_small(each.sessions, each.words, comparison.method)
        rows.append(
            [
                f"{PHENOMENON_LABELS[each.feature]} ({each.example})",
                str(each.words),
                *(
                    f"{figures.share_with_interval(rate.rate)}; elsewhere {figures.share_with_interval(rate.elsewhere)}"
                    for rate in each.rates
                ),
                figures.NO_VALUE if small else figures.format_error_reduction(each.improvement),
                small or "",
            ]
        )
    return _render_table(["phenomenon", "words", *names, "errors", "note"], rows)


def _render_vocabulary(comparison: Comparison) -> str:
    found = comparison.vocabulary
    if found is None:
        return ""
    table = _render_table(
        ["version", "recall", "precision", "worst terms (heard of said)"],
        [
            [
                escape_markdown(each.model),
                figures.share_with_interval(each.recall),
                figures.share_with_interval(each.precision),
                ", ".join(
                    f"{escape_markdown(term.term)} {term.recalled} of {term.reference_count}"
                    for term in each.worst[:6]
                ),
            ]
            for each in found.models
        ],
    )
    change = figures.points_with_interval(found.recall_change)
    said = f"{found.reference_terms} of {found.terms} terms were said, {found.reference_count} times."
    return f"{said} Recall changed by {change} points.\n\n{table}"


def _render_confusions(comparison: Comparison, focus: str) -> str:
    found = next((each for each in comparison.confusions if each.model == focus), None)
    if found is None:
        return ""
    rows = [
        [
            kind,
            f"{_format_confused_text(each.reference_token)} → {_format_confused_text(each.hypothesis_token)}",
            str(each.count),
            "" if each.base_count is None else str(each.base_count),
        ]
        for kind, some in (
            ("word", found.words[:8]),
            ("sound", found.phonemes[:8]),
            ("became rarer", found.reduced[:8]),
        )
        for each in some
    ]
    return _render_table(["what", "said → heard", escape_markdown(focus), "base"], rows)


def _format_confused_text(text: str) -> str:
    return escape_markdown(text) or "nothing"


def _render_hallucinations(comparison: Comparison) -> str:
    rows = []
    for model in comparison.models:
        if (found := model.hallucination) is not None:
            rows.append(
                [
                    escape_markdown(model.name),
                    figures.count_with_share(found.non_speech),
                    figures.per_minute(found.non_speech_words_per_minute),
                    figures.count_with_share(found.short_with_insertion),
                    figures.count_with_share(found.loops),
                    figures.count_with_share(found.stock_phrases),
                ]
            )
    head = [
        "version",
        "output without speech",
        "words a minute",
        "short clips with an insertion",
        "loops",
        "stock phrases",
    ]
    return _render_table(head, rows)


def _render_examples(comparison: Comparison) -> str:
    lines = []
    for example in comparison.examples:
        lines.append(f"- *{example.kind}*: {escape_markdown(example.reference)}")
        lines += [
            f"  - {escape_markdown(each.model)}, {each.errors} errors: {escape_markdown(each.text) or '(nothing)'}"
            for each in example.hypotheses
        ]
    return "\n".join(lines)


def _render_provenance(content: Content) -> str:
    comparison = content.comparison
    method, source = comparison.method, comparison.provenance
    draws = f"{method.bootstrap_draws} paired draws of {method.unit}s, seed {method.seed}"
    rows = [
        ["test set digest", comparison.test.digest],
        ["snapshot", escape_markdown(source.snapshot_id)],
        [
            "conventions",
            f"{escape_markdown(source.conventions)} {escape_markdown(source.conventions_digest[:12])}",
        ],
        ["scorer", escape_markdown(method.scorer)],
        [
            "intervals",
            f"95 %, {draws}, {method.interval_rule}",
        ],
        *[
            [f"other Spanish: {escape_markdown(each.name)}", escape_markdown(figures.describe_speech_source(each))]
            for each in source.out_of_domain
        ],
        *_list_artefact_rows(comparison),
        *([["evidence", content.decision.evidence]] if content.decision else []),
        *(_RECORD_FILES if content.has_records else []),
    ]
    return _render_table(["", ""], rows)


def _list_artefact_rows(comparison: Comparison) -> Iterator[list[str]]:
    for model in comparison.models:
        yield [
            escape_markdown(model.name),
            f"{model.artefact_digest}, {model.decoding.engine} {model.decoding.digest()[:12]}",
        ]
