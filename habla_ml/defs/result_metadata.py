"""The one order of an asset's metadata in the UI: what was made, the result, what to do next, its page, the details.

The UI shows metadata in the order of the event, in a column of about 50 characters. A longer word cuts off every other
value on the page. So ids are shortened, figures are rounded, and paths begin at the project.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import dagster as dg

from habla_ml.defs.presentation import format_figure, show_table
from habla_ml.settings import configs_folder
from habla_ml.tables import TableColumn, TextTable

HEAD: Final = ("what", "result", "next")
"""Names of the first entries of every asset, in this order."""
PAGE: Final = "page"
"""Name of the entry after them, where the service shows a page about the result."""
_DIGITS: Final = 4
_ID: Final = re.compile(r"\b([0-9a-f]{16})[0-9a-f]{24,48}\b")
"""A sha256 or the id of a commit."""


def build_result_metadata(
    what: str,
    result: Mapping[str, Any],
    next_step: str,
    *,
    page: Mapping[str, dg.MetadataValue] | None = None,
    details: Mapping[str, Any],
) -> dict[str, dg.MetadataValue]:
    """Return the metadata of a materialisation.

    Args:
        what: What was made, in one sentence.
        result: The few figures that a person looks for: name with unit → value.
        next_step: What a person does next, or what happens by itself.
        page: The entry of `link_service_page`.
        details: Everything else, figures that chart included. Rows and nested values become tables.
    """
    if clash := {*HEAD, PAGE} & details.keys():
        raise ValueError(f"details have names of the head: {sorted(clash)}; rename them")
    shown = {name: _format_value(value) for name, value in result.items() if value is not None}
    tabulated = tabulate_values(shown, ("figure", "value"))
    head: dict[str, Any] = dict(zip(HEAD, (_drop_quotes(what), tabulated, _drop_quotes(next_step)), strict=True))
    return {name: _present(value) for name, value in {**head, **(page or {}), **details}.items() if value is not None}


def tabulate_values(
    values: Mapping[str, Any], columns: tuple[str, str] = ("name", "value")
) -> dg.MarkdownMetadataValue:
    """Return names and values as a table; nested values get names with dots."""
    rows = [(name, _format_value(value)) for name, value in _flatten("", values)]
    return show_table(TextTable.of("", [TableColumn(each, is_numeric=False) for each in columns], rows))


def round_figure(value: float) -> float:
    """Return four significant digits; whole numbers stay whole."""
    return float(f"{value:.0f}" if abs(value) >= 10 ** (_DIGITS - 1) else f"{value:.{_DIGITS}g}")


def shorten_ids(text: str) -> str:
    """Return a text whose sha256 sums and commits have their first 16 digits only."""
    return _ID.sub(r"\1", text)


def show_path(path: Path) -> dg.PathMetadataValue:
    """Return a path for the clipboard, relative to the folder of the project where it is below it."""
    root = configs_folder().parent
    return dg.MetadataValue.path(str(path.relative_to(root) if path.is_relative_to(root) else path))


def _present(value: Any) -> dg.MetadataValue:
    if isinstance(value, dg.FloatMetadataValue) and value.value is not None:
        return dg.MetadataValue.float(round_figure(value.value))
    if isinstance(value, dg.PathMetadataValue):
        return show_path(Path(value.value or ""))
    if isinstance(value, dg.MetadataValue):
        return value
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, float):
        return dg.MetadataValue.float(round_figure(value))
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    if isinstance(value, Path):
        return show_path(value)
    if isinstance(value, Mapping):
        return tabulate_values(value)
    return dg.MetadataValue.text(shorten_ids(str(value)))


def _drop_quotes(text: str) -> str:
    """Return a text without back quotes, which the UI would show as characters."""
    return text.replace("`", "")


def _flatten(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _flatten(f"{prefix}.{name}" if prefix else str(name), each)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for at, each in enumerate(value, start=1):
            yield from _flatten(f"{prefix}.{at}", each)
    elif value not in (None, ""):
        yield prefix, value


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return format_figure(value)
    return f"{value:,}" if isinstance(value, int) else shorten_ids(str(value))
