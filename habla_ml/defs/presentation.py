"""How results look in the UI: numbers that chart, small plots, tables, links, provenance.

What a person said never goes to Dagster, in metadata, logs, tags or errors: no erasure reaches its storage. Metadata
show counts, rules and segment ids, and name the page that has the texts.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from habla_ml.settings import Settings


def plot(png: bytes, caption: str) -> dg.MarkdownMetadataValue:
    """A small plot inline; keep it under some tens of kB, it is stored with the event."""
    return dg.MetadataValue.md(f"![{caption}](data:image/png;base64,{base64.b64encode(png).decode()})")


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> dg.MarkdownMetadataValue:
    """Rows as a Markdown table: the UI draws it in place, without a click."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        lines.append("| " + " | ".join(_format_cell(row.get(column)) for column in columns) + " |")
    return dg.MetadataValue.md("\n".join(lines) if len(lines) > 2 else "*none*")


def column_schema(schema: Any) -> dg.TableSchemaMetadataValue:
    """A pyarrow schema as Dagster's column schema."""
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
    """A link where it is one, else a path."""
    if url_or_path.startswith(("http://", "https://")):
        return dg.MetadataValue.url(url_or_path)
    return dg.MetadataValue.path(url_or_path)


def file_link(path: Path) -> dg.MetadataValue:
    """A file a person opens in the browser."""
    return dg.MetadataValue.path(str(path))


def corpus_report_path(settings: Settings) -> Path:
    """Where `corpus_report` lays its page, with the texts and sounds that no metadata repeats."""
    return settings.work_folder / "reports" / "corpus" / "report.html"


def to_percent(value: float) -> float:
    """A share as a percentage with two decimals, so that it charts in points."""
    return round(100 * value, 2)


def _format_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
