"""The report of a comparison: a self-contained HTML page, Markdown, and the evidence as JSON and parquet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from habla_ml.audio import encode_flac
from habla_ml.corpus.snapshot import Utterance
from habla_ml.evaluation.comparison.error_tables import ErrorTables
from habla_ml.evaluation.report.content import ReportContent
from habla_ml.evaluation.report.html import render_html
from habla_ml.evaluation.report.markdown import render_markdown
from habla_ml.evaluation.report.schema import build_comparison_schema
from habla_ml.transcription.audio_check import find_audio_fault

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ReportFiles:
    """Paths of the files of a report."""

    html: Path
    markdown: Path
    json: Path
    """The comparison, for `read_comparison`."""

    @property
    def schema(self) -> Path:
        """The JSON Schema of the comparison."""
        return self.json.with_name("comparison.schema.json")

    @property
    def utterances(self) -> Path:
        """Parquet with one row for each model and utterance; exists with error tables only."""
        return self.json.with_name("utterances.parquet")

    @property
    def word_errors(self) -> Path:
        """Parquet with one row for each word error of each model; exists with error tables only."""
        return self.json.with_name("word_errors.parquet")


def write_report(
    content: ReportContent, utterances: Iterable[Utterance], folder: Path, error_tables: ErrorTables | None = None
) -> ReportFiles:
    """Write `report.html`, `report.md`, `comparison.json`, its schema, and the error tables as parquet.

    The files depend only on the arguments: the same comparison gives the same bytes.

    Args:
        content: What the report shows.
        utterances: The test set, for the audio of the examples; read once, only the examples are kept.
        folder: Folder of the files; created if it is missing.
        error_tables: Every utterance and every wrong word.
    """
    content = replace(content, has_error_tables=error_tables is not None)
    comparison = content.comparison
    wanted = {each.segment_id for each in comparison.examples}
    flac_by_segment = {
        each.segment_id: encode_flac(each.audio)
        for each in utterances
        if each.segment_id in wanted and find_audio_fault(each.audio) is None
    }
    files = ReportFiles(folder / "report.html", folder / "report.md", folder / "comparison.json")
    folder.mkdir(parents=True, exist_ok=True)
    files.html.write_text(render_html(content, flac_by_segment), encoding="utf-8")
    files.markdown.write_text(render_markdown(content), encoding="utf-8")
    files.json.write_text(comparison.to_json(), encoding="utf-8")
    files.schema.write_text(build_comparison_schema(), encoding="utf-8")
    if error_tables is not None:
        _write_table(error_tables.utterances, files.utterances)
        _write_table(error_tables.word_errors, files.word_errors)
    return files


def _write_table(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd")


__all__ = ["ReportContent", "ReportFiles", "write_report"]
