"""The report as Markdown, for a pull request or a model card, in the order of the evaluation framework's template."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from habla_ml.evaluation.advice import Advice
from habla_ml.evaluation.comparison import Comparison, Slice
from habla_ml.evaluation.report import figures
from habla_ml.evaluation.report.advice import advise
from habla_ml.evaluation.report.content import Content
from habla_ml.evaluation.report.places import (
    PHENOMENON_NAMES,
    conditions_of,
    languages_of,
    places_of,
    too_small,
)
from habla_ml.evaluation.report.said import REASONS_SHOWN, chance_of, failures_of, speakers_told
from habla_ml.evaluation.report.scoreboard import Cell, Row, scoreboard
from habla_ml.evaluation.report.spread import spread_of
from habla_ml.evaluation.report.summary import detectable, few_clips, summarise

STANDINGS: Final = {"met": "met", "unsure": "not sure", "missed": "not met"}
_RECORDS: Final = [["every utterance", "utterances.parquet"], ["every wrong word", "word\\_errors.parquet"]]
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&$]|^[-+]|(?<=:)//|(?<=www)\.)")


def escape(text: str) -> str:
    """Any text as plain words in Markdown: one line, nothing that formats, links or closes a table cell."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def render_markdown(content: Content) -> str:
    """The same figures as the HTML page, without sound."""
    comparison = content.comparison
    summary, rows = summarise(content), scoreboard(comparison, content.acceptable)
    advice = advise(content, rows)
    opening = [
        f"**{summary.verdict}.**",
        summary.better,
        summary.sure,
        *summary.where,
        summary.general,
        summary.seeds,
    ]
    reasons = list(content.decision.reasons if content.decision else ())
    if content.override:
        reasons.insert(0, f"A person decided otherwise: {content.override}")
    parts: dict[str, str] = {
        f"# {escape(summary.headline)}": " ".join(
            escape(each) if at else each for at, each in enumerate(opening) if each
        ),
        "## Why": _lines(reasons),
        "## Test set": _test_set(content),
        "## Side by side": _scoreboard(comparison, rows),
        "## Recommendation": escape(advice.recommendation),
        "## Trade-offs": _lines(advice.trade_offs),
        "## Migration path": _lines(advice.migration)
        + (f"\n\nRollback: `{_code(advice.rollback)}`" if advice.rollback else ""),
        "## Versions over time": _history(content) if len(content.history) > 1 else "",
        "## Seeds": _seeds(comparison),
        "## Should I fine-tune? How many more hours?": _should_train(content.should_train),
        "## Changes": _changes(comparison),
        "## Slices": _slices(comparison, content.focus.name),
        "## Andalusian phenomena": _phenomena(comparison),
        "## Domain words": _vocabulary(comparison),
        "## Confusions": _confusions(comparison, content.focus.name),
        "## What is invented": _inventions(comparison),
        "## Word times and speakers": _timing(comparison),
        "## Failures": _lines(failures_of(comparison)),
        "## Examples": _examples(comparison),
        "## Provenance": _provenance(content),
    }
    return "\n\n".join(f"{title}\n\n{text}" for title, text in parts.items() if text) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) if rows else ""


def _lines(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {escape(each)}" for each in sentences)


def _code(text: str) -> str:
    """Inside backticks nothing can be escaped: what could end them, or the line, is dropped."""
    return " ".join(text.replace("`", "").split())


def _test_set(content: Content) -> str:
    test, source = content.comparison.test, content.comparison.provenance
    few = few_clips(content)
    rows = [
        ["description", "speech kept for testing, never trained on; scored as served"],
        [
            "size",
            f"{test.utterances} clips, {test.words} words, {test.sessions} sessions, {figures.minutes(test.duration_s)}"
            + (f"; {few}" if few else ""),
        ],
        ["languages", escape(languages_of(content.comparison))],
        ["conditions", escape("; ".join(conditions_of(content.comparison))) or figures.UNKNOWN],
        ["hardware", escape(source.hardware or figures.UNKNOWN)],
        ["date", escape(content.date or figures.UNKNOWN)],
    ]
    return _table(["", ""], rows)


def _scoreboard(comparison: Comparison, rows: Sequence[Row]) -> str:
    head = [
        "metric",
        *(f"{escape(model.name)} ({model.role})" for model in comparison.models),
        "winner",
        "acceptable",
    ]
    return _table(
        head,
        [
            [row.metric, *(_cell(each) for each in row.cells), escape(row.winner), row.bound]
            for row in rows
            if row.is_measured
        ],
    )


def _cell(cell: Cell) -> str:
    return f"{cell.text}, {STANDINGS[cell.standing]}" if cell.standing else cell.text


def _history(content: Content) -> str:
    return _table(
        ["version", "WER (95 %)"],
        [[escape(name), figures.share_with_interval(interval)] for name, interval in content.history],
    )


def _seeds(comparison: Comparison) -> str:
    found = comparison.seeds
    if found is None:
        return ""
    rows = [[escape(each.version), figures.percent(each.wer)] for each in found.runs]
    return _table(["trained with a seed of its own", "WER"], [*rows, ["mean ± spread", spread_of(found)]])


def _should_train(advice: Advice | None) -> str:
    if advice is None:
        return ""
    rows = [
        [
            f"+{each.more_hours:g} h",
            figures.share_with_interval(each.wer),
            figures.share_with_interval(each.reduction),
            each.chance,
        ]
        for each in advice.forecasts
    ]
    table = _table(["more speech to train on", "WER", "of today's errors removed", chance_of(advice)], rows)
    reasons = _lines(advice.reasons[:REASONS_SHOWN])
    return "\n\n".join(each for each in (f"**{escape(advice.headline)}.**", reasons, table) if each)


def _timing(comparison: Comparison) -> str:
    """Where words begin and end, and who speaks, against what people marked."""
    rows = []
    for model in comparison.models:
        if (found := model.word_timing) is not None:
            edges = [
                f"{each.mean_absolute_ms:.0f}\u00a0ms" if each else "–" for each in (found.starts, found.ends)
            ]
            compared = f"{found.matched_words} of {found.reference_words}"
            rows.append([escape(model.name), figures.milliseconds(found.mean_absolute_ms), *edges, compared])
    table = _table(["version", "mean error of word times", "of starts", "of ends", "words compared"], rows)
    return "\n\n".join(each for each in (table, escape(speakers_told(comparison))) if each)


def _changes(comparison: Comparison) -> str:
    table = _table(
        ["of", "against", "errors", "WER, points", "missing, points", "too many, points", "other Spanish, points"],
        [
            [
                escape(change.of),
                escape(change.against),
                figures.fewer_errors(change.relative_improvement),
                figures.points_with_interval(change.points),
                figures.points_with_interval(change.deletion_points),
                figures.points_with_interval(change.insertion_points),
                figures.points_with_interval(change.out_of_domain_points),
            ]
            for change in comparison.changes
        ],
    )
    said = [
        f"{each.of} against {each.against}: {detectable(each)}" for each in comparison.changes if detectable(each)
    ]
    return "\n\n".join(each for each in (table, _lines(said)) if each)


def _slices(comparison: Comparison, focus: str) -> str:
    """Dimension by dimension; of the speakers only those that one may speak of."""
    places = places_of(comparison, focus)
    speakers = [each for each in comparison.slices if each.dimension == "speaker"]
    large = [each for each in speakers if not each.too_small]
    rows = [_slice(dimension, each) for dimension, members in places.groups for each in members]
    head = [
        "of",
        "slice",
        "words",
        "sessions",
        *[escape(model.name) for model in comparison.models],
        "errors",
        "note",
    ]
    notes = [escape(places.untold)] if places.untold else []
    if small := len(speakers) - len(large):
        notes.append(f"{small} {'speaker is' if small == 1 else 'speakers are'} too small to speak of.")
    table = _table(head, [*rows, *(_slice("Speaker", each) for each in large)])
    return "\n\n".join(each for each in (table, *notes) if each)


def _slice(dimension: str, each: Slice) -> list[str]:
    return [
        dimension,
        escape(each.name),
        str(each.words),
        str(each.sessions),
        *[figures.rate_with_interval(rate.rate) for rate in each.rates],
        figures.UNKNOWN if each.too_small else figures.fewer_errors(each.improvement),
        each.too_small or "",
    ]


def _phenomena(comparison: Comparison) -> str:
    names = [escape(model.name) for model in comparison.models]
    rows = []
    for each in comparison.phenomena:
        small = too_small(each.sessions, each.words, comparison.method)
        rows.append(
            [
                f"{PHENOMENON_NAMES[each.phenomenon]} ({each.example})",
                str(each.words),
                *(
                    f"{figures.share_with_interval(rate.rate)}; elsewhere {figures.share_with_interval(rate.elsewhere)}"
                    for rate in each.rates
                ),
                figures.UNKNOWN if small else figures.fewer_errors(each.improvement),
                small or "",
            ]
        )
    return _table(["phenomenon", "words", *names, "errors", "note"], rows)


def _vocabulary(comparison: Comparison) -> str:
    found = comparison.vocabulary
    if found is None:
        return ""
    table = _table(
        ["version", "recall", "precision", "worst terms (heard of said)"],
        [
            [
                escape(each.model),
                figures.share_with_interval(each.recall),
                figures.share_with_interval(each.precision),
                ", ".join(f"{escape(term.term)} {term.recalled} of {term.said}" for term in each.worst[:6]),
            ]
            for each in found.models
        ],
    )
    change = figures.points_with_interval(found.recall_change)
    said = f"{found.terms_said} of {found.terms} terms were said, {found.said} times."
    return f"{said} Recall changed by {change} points.\n\n{table}"


def _confusions(comparison: Comparison, focus: str) -> str:
    found = next((each for each in comparison.confusions if each.model == focus), None)
    if found is None:
        return ""
    rows = [
        [
            kind,
            f"{_thing(each.said)} → {_thing(each.heard)}",
            str(each.count),
            "" if each.base_count is None else str(each.base_count),
        ]
        for kind, some in (
            ("word", found.words[:8]),
            ("sound", found.sounds[:8]),
            ("became rarer", found.gone[:8]),
        )
        for each in some
    ]
    return _table(["what", "said → heard", escape(focus), "base"], rows)


def _thing(text: str) -> str:
    return escape(text) or "nothing"


def _inventions(comparison: Comparison) -> str:
    rows = []
    for model in comparison.models:
        if (found := model.hallucination) is not None:
            rows.append(
                [
                    escape(model.name),
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
    return _table(head, rows)


def _examples(comparison: Comparison) -> str:
    lines = []
    for example in comparison.examples:
        lines.append(f"- *{example.kind}*: {escape(example.reference)}")
        lines += [
            f"  - {escape(each.model)}, {each.errors} errors: {escape(each.text) or '(nothing)'}"
            for each in example.hypotheses
        ]
    return "\n".join(lines)


def _provenance(content: Content) -> str:
    comparison = content.comparison
    method, source = comparison.method, comparison.provenance
    draws = f"{method.bootstrap_draws} paired draws of {method.unit}s, seed {method.seed}"
    rows = [
        ["test set digest", comparison.test.digest],
        ["snapshot", escape(source.snapshot_id)],
        ["conventions", f"{escape(source.conventions)} {escape(source.conventions_digest[:12])}"],
        ["scorer", escape(method.scorer)],
        [
            "intervals",
            f"95 %, {draws}, {method.interval_rule}",
        ],
        *[[f"other Spanish: {escape(each.name)}", escape(figures.whose(each))] for each in source.out_of_domain],
        *_models(comparison),
        *([["evidence", content.decision.evidence]] if content.decision else []),
        *(_RECORDS if content.has_records else []),
    ]
    return _table(["", ""], rows)


def _models(comparison: Comparison) -> Iterator[list[str]]:
    for model in comparison.models:
        yield [
            escape(model.name),
            f"{model.artefact_digest}, {model.decoding.engine} {model.decoding.digest()[:12]}",
        ]
