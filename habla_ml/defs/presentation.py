"""How results look in the UI: tables, lists and links. `result_metadata` has their order.

Spoken words never go to Dagster, neither in metadata nor in logs, tags or errors, because no erasure reaches its
storage. Metadata show counts, rules and segment ids, and name the page with the texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import dagster as dg

from habla_ml.settings import Settings
from habla_ml.tables import TableCell, TableColumn, TextTable, render_markdown_table

_COLUMN_CHARS: Final = 50
"""Width of the column in which the UI shows Markdown in place."""
_DIALOG_CHARS: Final = 1000
"""Markdown of this length is shown in a dialog, which is wide."""
_ID: Final = re.compile(r"[0-9a-f]{64}")
_ID_CHARS: Final = 16


def show_table(shown: TextTable) -> dg.MarkdownMetadataValue:
    """Return a table as Markdown, which the UI draws in place, or in a dialog where it is too wide or too long."""
    if 0 < len(shown.rows) < len(shown.columns) - 1 and _measure_width(shown) > _COLUMN_CHARS:
        shown = _transpose(shown)
    text = render_markdown_table(shown) or "*none*"
    return dg.MetadataValue.md(text.ljust(_DIALOG_CHARS) if _measure_width(shown) > _COLUMN_CHARS else text)


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> dg.MarkdownMetadataValue:
    """Return rows by column name as a Markdown table."""
    cells = ([_format_cell(row.get(column)) for column in columns] for row in rows)
    return show_table(TextTable.of("", [TableColumn(each, is_numeric=False) for each in columns], cells))


def tabulate_counts(label: str, counts: Mapping[str, int]) -> dg.MarkdownMetadataValue:
    """Return a table of segment counts by `label`."""
    return table(({label: name, "segments": count} for name, count in counts.items()), [label, "segments"])


def tabulate_violations(
    label: str, counts: Mapping[str, int], confirmed: Mapping[str, int]
) -> dg.MarkdownMetadataValue:
    """Return a table of segments that break each rule, and of those that a person confirmed as they are."""
    rows = (
        {label: name, "segments": count, "confirmed by a person": confirmed.get(name, 0)}
        for name, count in counts.items()
    )
    return table(rows, [label, "segments", "confirmed by a person"])


def bullet_list(lines: Iterable[str]) -> dg.MarkdownMetadataValue:
    """Return lines as a Markdown list."""
    return dg.MetadataValue.md("\n".join(f"- {each}" for each in lines))


def column_schema(schema: Any) -> dg.TableSchemaMetadataValue:
    """Return a pyarrow schema as Dagster's column schema."""
    columns = [
        dg.TableColumn(
            name=field.name,
            type=str(field.type),
            description=(field.metadata or {}).get(b"description", b"").decode() or None,
            constraints=dg.TableColumnConstraints(nullable=field.nullable),
        )
        for field in schema
    ]
    return dg.MetadataValue.table_schema(dg.TableSchema(columns=columns))


def link_or_path(url_or_path: str) -> dg.MetadataValue:
    """Return a link for an http(s) address, else a path."""
    if url_or_path.startswith(("http://", "https://")):
        return dg.MetadataValue.url(url_or_path)
    return dg.MetadataValue.path(url_or_path)


def tabulate_examples(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> dg.MetadataValue:
    """Return rows for a check, whose page draws these tables in place and Markdown only after a click."""
    schema = dg.TableSchema([dg.TableColumn(each, "string") for each in columns])
    records = [dg.TableRecord({each: _format_cell(row.get(each)) for each in columns}) for row in rows]
    return dg.MetadataValue.table(records=records, schema=schema) if records else dg.MetadataValue.text("none")


def link_service_page(settings: Settings, path: str) -> dict[str, dg.MetadataValue]:
    """Return a link to a page of the service; empty where no service was started and none has a public address."""
    if settings.service.public_url is None and not settings.service_folder.is_dir():
        return {}
    return {"page": dg.MetadataValue.url(f"{settings.service.address}{path}")}


def name_lineage(settings: Settings, name: str) -> dict[str, dg.MetadataValue]:
    """Return the command that shows what a session, a version or a release came from and led to."""
    return {"lineage": dg.MetadataValue.md(f"`{settings.command('lineage', name)}`")}


def corpus_report_path(settings: Settings) -> Path:
    """Return the path of the `corpus_report` page, the only place with the texts and audio."""
    return settings.work_folder / "reports" / "corpus" / "report.html"


def to_percent(value: float) -> float:
    """Return a share as a percentage with two decimals, so that it charts in points."""
    return round(100 * value, 2)


def format_figure(value: float) -> str:
    """Return three significant digits; from 1,000 on all digits of the whole number, and never an exponent."""
    text = f"{value:.3g}"
    return f"{value:,.0f}" if abs(float(text)) >= 1000 else text


def _format_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return format_figure(value)
    return str(value)[:_ID_CHARS] if _ID.fullmatch(str(value)) else str(value)


def _measure_width(shown: TextTable) -> int:
    """Return how many characters the longest words of the columns need beside each other."""
    columns = [[each.title] for each in shown.columns]
    for row in shown.rows:
        for texts, cell in zip(columns, row, strict=True):
            texts.append(cell.join())
    return sum(2 + max(len(word) for text in texts for word in re.split("[ \n]", text)) for texts in columns)


def _transpose(shown: TextTable) -> TextTable:
    """Return a table whose rows are the columns of this one."""
    first, *others = shown.columns
    columns = [TableColumn(first.title, is_numeric=False), *(TableColumn(row[0].join()) for row in shown.rows)]
    rows: list[list[TableCell | str]] = [
        [each.title, *(row[at] for row in shown.rows)] for at, each in enumerate(others, start=1)
    ]
    return TextTable.of(shown.title, columns, rows)
