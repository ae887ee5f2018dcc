"""The report of a comparison: a self-contained HTML page, Markdown, and the evidence as JSON and parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from habla_ml.corpus.snapshot import Utterance
from habla_ml.evaluation.comparison.error_tables import ErrorTables
from habla_ml.evaluation.comparison.records import COMPARISON_FORMAT, Comparison
from habla_ml.evaluation.report.content import ReportContent
from habla_ml.evaluation.report.error_browser import build_error_browser
from habla_ml.evaluation.report.html import render_html
from habla_ml.evaluation.report.markdown import render_markdown


class ReportFiles:
    """Paths of the files of a report; the parquet files exist with error tables only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.html, self.markdown = folder / "report.html", folder / "report.md"
        self.json, self.schema = folder / "comparison.json", folder / "comparison.schema.json"
        self.utterances, self.word_errors = folder / "utterances.parquet", folder / "word_errors.parquet"


def write_report(
    content: ReportContent, utterances: Iterable[Utterance], folder: Path, error_tables: ErrorTables | None = None
) -> ReportFiles:
    """Write `report.html`, `report.md`, `comparison.json`, its schema, and the error tables as parquet.

    The files depend only on the arguments: the same comparison gives the same bytes.

    Args:
        content: What the report shows.
        utterances: The test set, for the error browser; read once, and not without error tables.
        folder: Folder of the files; created if it is missing.
        error_tables: Every utterance and every wrong word, with a row for each model.
    """
    import pyarrow.parquet as pq

    content = replace(content, has_error_tables=error_tables is not None)
    comparison = content.comparison
    browser = build_error_browser(comparison, utterances, error_tables.utterances) if error_tables else None
    files = ReportFiles(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files.html.write_text(render_html(content, browser), encoding="utf-8")
    files.markdown.write_text(render_markdown(content), encoding="utf-8")
    files.json.write_text(comparison.to_json(), encoding="utf-8")
    files.schema.write_text(_build_comparison_schema(), encoding="utf-8")
    if error_tables is not None:
        pq.write_table(error_tables.utterances, files.utterances, compression="zstd")
        pq.write_table(error_tables.word_errors, files.word_errors, compression="zstd")
    return files


def _build_comparison_schema() -> str:
    """Return the JSON Schema (draft 2020-12) of `Comparison.to_json`, for readers without this package."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{COMPARISON_FORMAT.replace('/', ':')}",
        **Comparison.model_json_schema(mode="serialization"),
    }
    return json.dumps(schema, ensure_ascii=False, indent=1) + "\n"


__all__ = ["ReportContent", "ReportFiles", "write_report"]
