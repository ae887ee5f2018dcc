"""What holds for the metadata of every materialisation, so that its page in the UI can be read."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from habla_ml.defs.result_metadata import HEAD, PAGE

LONGEST_WORD = 52
"""A longer word makes the table of metadata wider than a screen of 1440 pixels."""
IN_PLACE = 1000
"""From this length on, the UI shows Markdown after a click."""


def require_readable_metadata(metadata: Mapping[str, dg.MetadataValue]) -> None:
    """Assert the order, that figures have four digits, that plots are in place, and that nothing is raw or too wide."""
    names = list(metadata)
    assert tuple(names[: len(HEAD)]) == HEAD, names
    assert PAGE not in names or names.index(PAGE) == len(HEAD), names
    for name, entry in metadata.items():
        assert not isinstance(entry, dg.JsonMetadataValue), f"{name} is JSON"
        if isinstance(entry, dg.FloatMetadataValue):
            value = entry.value or 0.0
            assert value in (float(f"{value:.4g}"), round(value)), f"{name} has more than four digits: {value}"
        elif isinstance(entry, dg.MarkdownMetadataValue) and "](<data:" in entry.value:
            assert len(entry.value) < IN_PLACE, f"the plot {name} is shown after a click"
        elif isinstance(entry, dg.TextMetadataValue):
            too_long = [word for word in entry.value.split() if len(word) > LONGEST_WORD and not word.startswith("/")]
            assert not too_long, f"{name}: {too_long}"
