"""The report as Markdown, for a pull request or a model card, in the order of the evaluation framework's template."""

from __future__ import annotations

from collections.abc import Iterable

from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.promotion.advice import Advice
from habla_ml.evaluation.report import sentences
from habla_ml.evaluation.report.breakdown import explain_missing_dimensions
from habla_ml.evaluation.report.content import ReportContent
from habla_ml.evaluation.report.deployment_advice import advise_deployment
from habla_ml.evaluation.report.scoreboard import build_scoreboard
from habla_ml.evaluation.report.summary import summarise
from habla_ml.evaluation.report.tables import build_confusion_tables, build_tables
from habla_ml.tables import escape_markdown, render_markdown_table

_ERROR_TABLES_NOTE = (
    "Next to this report: `utterances.parquet` (every utterance), `word_errors.parquet` (every wrong word)."
)


def render_markdown(content: ReportContent) -> str:
    """Return the same figures as the HTML page, without audio."""
    comparison = content.comparison
    summary, rows = summarise(content), build_scoreboard(comparison, content.acceptable)
    advice = advise_deployment(content, rows)
    tables = {name: render_markdown_table(each) for name, each in build_tables(content, rows).items()}
    verdict = f"**{summary.verdict}.**"
    override = (f"Override: {content.override}",) if content.override else ()
    reasons = (*override, *(content.decision.reasons if content.decision else ()))
    # Nothing can be escaped inside a code span.
    command = " ".join(advice.rollback.replace("`", "").split())
    sections = {
        f"# {escape_markdown(summary.headline)}": " ".join([verdict, *map(escape_markdown, summary.sentences)]),
        "## Reasons": _render_list(reasons),
        "## Test set": tables["test_set"],
        "## Side by side": tables["scoreboard"],
        "## Recommendation": escape_markdown(advice.recommendation),
        "## Trade-offs": _render_list(advice.trade_offs),
        "## Migration path": _join(_render_list(advice.migration), f"Rollback: `{command}`" if command else ""),
        "## Versions over time": tables["history"] if len(content.history) > 1 else "",
        "## Seeds": tables["seeds"],
        "## Should I fine-tune? How many more hours?": _join(
            _render_training_advice(content.training_advice), tables["forecasts"]
        ),
        "## Changes": tables["changes"],
        "## Slices": _join(
            tables["slices"],
            escape_markdown(explain_missing_dimensions(comparison)),
            _explain_small_speakers(comparison),
        ),
        "## Andalusian features": tables["dialect"],
        "## Domain terms": _join(escape_markdown(sentences.describe_vocabulary(comparison)), tables["vocabulary"]),
        "## Confusions (reference → hypothesis)": _render_confusions(comparison, content.focus.name),
        "## Punctuation and capitals": tables["punctuation"],
        "## Invented text": tables["invented"],
        "## Word times and speakers": _join(
            tables["word_timing"], escape_markdown(sentences.describe_diarisation(comparison))
        ),
        "## Failures": _join(tables["decoding"], _render_list(sentences.describe_failures(comparison))),
        "## Examples": _render_examples(comparison),
        "## Provenance": _join(
            escape_markdown(sentences.describe_method(comparison)),
            tables["provenance"],
            _ERROR_TABLES_NOTE if content.has_error_tables else "",
        ),
    }
    return "\n\n".join(f"{title}\n\n{text}" for title, text in sections.items() if text) + "\n"


def _join(*blocks: str) -> str:
    return "\n\n".join(each for each in blocks if each)


def _render_list(items: Iterable[str]) -> str:
    return "\n".join(f"- {escape_markdown(each)}" for each in items)


def _render_training_advice(advice: Advice | None) -> str:
    if advice is None:
        return ""
    return _join(f"**{escape_markdown(advice.headline)}.**", _render_list(advice.reasons[: sentences.REASONS_SHOWN]))


def _explain_small_speakers(comparison: Comparison) -> str:
    small = sum(each.dimension == "speaker" and bool(each.too_small) for each in comparison.slices)
    speakers = "1 speaker has" if small == 1 else f"{small} speakers have"
    return f"{speakers} too little speech for an error rate." if small else ""


def _render_confusions(comparison: Comparison, focus: str) -> str:
    found = next((each for each in comparison.confusions if each.model == focus), None)
    return "" if found is None else _join(*map(render_markdown_table, build_confusion_tables(found)))


def _render_examples(comparison: Comparison) -> str:
    lines = []
    for example in comparison.examples:
        lines.append(f"- *{example.kind}*: {escape_markdown(example.reference)}")
        for each in example.hypotheses:
            errors = f"{each.errors} {'error' if each.errors == 1 else 'errors'}"
            lines.append(f"  - {escape_markdown(each.model)}, {errors}: {escape_markdown(each.text) or '(empty)'}")
    return "\n".join(lines)
