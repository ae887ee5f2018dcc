"""The report of a comparison: one HTML file that needs nothing else, Markdown, and the evidence as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from habla_ml.audio import encode_flac
from habla_ml.corpus.snapshot import Utterance
from habla_ml.evaluation.comparison.error_tables import ErrorTables
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.promotion.advice import Advice
from habla_ml.evaluation.promotion.rule import Decision
from habla_ml.evaluation.report.content import Content
from habla_ml.evaluation.report.html import render_html
from habla_ml.evaluation.report.markdown import render_markdown
from habla_ml.evaluation.report.schema import build_comparison_schema
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.settings import DEFAULT_PROFILE, AcceptableSettings
from habla_ml.transcription.audio_check import find_audio_fault

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ReportFiles:
    """Where the forms of a report lie."""

    html: Path
    markdown: Path
    json: Path
    """The comparison itself; `read_comparison` reads it."""

    @property
    def schema(self) -> Path:
        """The JSON Schema of the comparison."""
        return self.json.with_name("comparison.schema.json")

    @property
    def utterances(self) -> Path:
        """Parquet, one row for each model and utterance; written where the records were given."""
        return self.json.with_name("utterances.parquet")

    @property
    def word_errors(self) -> Path:
        """Parquet, one row for each word that a model got wrong; written where the records were given."""
        return self.json.with_name("word_errors.parquet")


def write_report(
    comparison: Comparison,
    decision: Decision | None,
    utterances: Iterable[Utterance],
    folder: Path,
    date: str | None = None,
    *,
    override: str | None = None,
    history: Sequence[tuple[str, Interval]] = (),
    acceptable: AcceptableSettings | None = None,
    records: ErrorTables | None = None,
    should_train: Advice | None = None,
    profile_option: str = DEFAULT_PROFILE,
) -> ReportFiles:
    """Write `report.html`, `report.md`, `comparison.json` and its schema into `folder`, made where it is missing.

    ErrorTables go into `utterances.parquet` and `word_errors.parquet`.

    The files depend on the arguments alone: the same comparison gives the same bytes.

    Args:
        comparison: What was measured.
        decision: What follows from it; None where it decides no release.
        utterances: The test set, for the audio of the examples; read once, only the examples are kept.
        folder: Where the files go.
        date: The day to print, as the caller wants it read; nothing is printed without one.
        override: Who decided otherwise than the rule, and why.
        history: Versions with their WER on this same test set, the oldest first; other test sets do not compare.
        acceptable: The bounds that the scoreboard shows as met or not.
        records: Every utterance and every word that was wrong.
        should_train: What `habla-ml advise` says; the report has a section of it.
        profile_option: `-p` of the commands that the report prints.
    """
    content = Content(
        comparison,
        decision,
        date,
        override,
        tuple(history),
        acceptable or AcceptableSettings(),
        should_train,
        has_records=records is not None,
        profile_option=profile_option,
    )
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
    if records is not None:
        _write_table(records.utterances, files.utterances)
        _write_table(records.word_errors, files.word_errors)
    return files


def _write_table(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd")


__all__ = ["Content", "ReportFiles", "write_report"]
