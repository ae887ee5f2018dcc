"""A section of the status in Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from habla_ml.monitoring.finding import Finding, Health
from habla_ml.monitoring.status.loop_status import StatusSection
from habla_ml.tables import escape_markdown

MARKS: Final[dict[Health, str]] = {"ok": "✓", "note": "·", "wrong": "✗"}
"""The sign before a line, by its health."""


def render_markdown_section(section: StatusSection) -> str:
    """Return the lines of a section as a Markdown list, because the UI shows a table in a narrow column."""
    return "\n".join(line for each in section.findings for line in _render_line(each)) or "nothing"


def _render_line(finding: Finding) -> Iterator[str]:
    yield f"- {MARKS[finding.health]} **{_escape(finding.subject)}**: {_escape(finding.found)}"
    if finding.next_step:
        yield f"  - *{_escape(finding.next_step)}*"


def _escape(text: str) -> str:
    """Return plain text; back quotes would be shown as characters."""
    return escape_markdown(text.replace("`", ""))
