"""The report as Markdown, for a pull request, a model card or a terminal."""

from __future__ import annotations

import re

from habla_ml.evaluation.comparison import Comparison
from habla_ml.evaluation.promotion import Decision
from habla_ml.evaluation.report import figures
from habla_ml.evaluation.report.summary import summarise

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&$]|^[-+]|(?<=:)//|(?<=www)\.)")


def escape(text: str) -> str:
    """Any text as plain words in Markdown: one line, nothing that formats, links or closes a table cell."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def render_markdown(comparison: Comparison, decision: Decision, date: str | None = None) -> str:
    """The same figures as the HTML page, without sound."""
    summary = summarise(comparison, decision)
    opening = [f"**{summary.verdict}.**", summary.better, summary.sure, *summary.where, summary.general]
    sections = [
        f"# {escape(summary.headline)}",
        *([f"Date: {escape(date)}"] if date else []),
        " ".join(escape(each) if at else each for at, each in enumerate(opening) if each),
        "## Why",
        "\n".join(f"- {escape(reason)}" for reason in decision.reasons),
        "## Versions",
        _versions(comparison),
        *(["## The candidate against the others", _changes(comparison)] if comparison.changes else []),
        *(["## Slices", _slices(comparison)] if comparison.slices else []),
        *(["## Examples", _examples(comparison)] if comparison.examples else []),
        "## Provenance",
        _provenance(comparison, decision),
    ]
    return "\n\n".join(sections) + "\n"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _versions(comparison: Comparison) -> str:
    return _table(
        [
            "version",
            "role",
            "WER (95 %)",
            "WER as written",
            "CER",
            "S",
            "D",
            "I",
            "other Spanish",
            "RTF p50 / p95",
        ],
        [
            [
                escape(model.name),
                model.role,
                figures.rate_with_interval(model.wer),
                figures.rate_with_interval(model.orthographic_wer),
                figures.rate_with_interval(model.cer),
                str(model.wer.counts.substitutions),
                str(model.wer.counts.deletions),
                str(model.wer.counts.insertions),
                figures.rate_with_interval(model.out_of_domain_wer),
                f"{figures.factor(model.speed.real_time_factor_p50)} / {figures.factor(model.speed.real_time_factor_p95)}",
            ]
            for model in comparison.models
        ],
    )


def _changes(comparison: Comparison) -> str:
    return _table(
        ["against", "errors", "WER, points", "other Spanish, points"],
        [
            [
                escape(change.against),
                figures.fewer_errors(change.relative_improvement),
                figures.points_with_interval(change.points),
                figures.points_with_interval(change.out_of_domain_points),
            ]
            for change in comparison.changes
        ],
    )


def _slices(comparison: Comparison) -> str:
    return _table(
        ["slice", "words", "sessions", *[escape(model.name) for model in comparison.models], "errors", ""],
        [
            [
                escape(each.name),
                str(each.words),
                str(each.sessions),
                *[figures.rate_with_interval(rate.rate) for rate in each.rates],
                figures.fewer_errors(each.improvement),
                each.too_small or "",
            ]
            for each in comparison.slices
        ],
    )


def _examples(comparison: Comparison) -> str:
    lines = []
    for example in comparison.examples:
        lines.append(f"- *{example.kind}*: {escape(example.reference)}")
        lines += [
            f"  - {escape(each.model)}, {each.errors} errors: {escape(each.text) or '(nothing)'}"
            for each in example.hypotheses
        ]
    return "\n".join(lines)


def _provenance(comparison: Comparison, decision: Decision) -> str:
    test, method, source = comparison.test, comparison.method, comparison.provenance
    rows = [
        ["test set", f"{test.utterances} segments, {test.sessions} sessions, {figures.minutes(test.duration_s)}"],
        ["test set digest", test.digest],
        ["snapshot", escape(source.snapshot_id)],
        ["conventions", f"{escape(source.conventions)} {escape(source.conventions_digest[:12])}"],
        ["scorer", escape(method.scorer)],
        ["intervals", f"95 %, {method.bootstrap_draws} paired draws of sessions, seed {method.seed}"],
        *([["hardware", escape(source.hardware)]] if source.hardware else []),
        *[[f"other Spanish: {escape(each.name)}", escape(figures.whose(each))] for each in source.out_of_domain],
        *[
            [
                escape(model.name),
                f"{model.artefact_digest}, {model.decoding.engine} {model.decoding.digest()[:12]}",
            ]
            for model in comparison.models
        ],
        ["evidence", decision.evidence],
    ]
    return _table(["", ""], rows)
