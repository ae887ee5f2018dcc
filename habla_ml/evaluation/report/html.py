"""The WER report as one HTML page of `habla_ml.html`."""

from __future__ import annotations

from collections.abc import Mapping

from habla_ml.evaluation.report.content import ReportContent
from habla_ml.evaluation.report.sections import build_sections
from habla_ml.evaluation.report.summary import summarise
from habla_ml.html import open_template


def render_html(content: ReportContent, flac_by_segment: Mapping[str, bytes]) -> str:
    """Return the whole page; `flac_by_segment` holds the audio of the examples as FLAC, by segment id."""
    return open_template("habla_ml.evaluation.report", "report.html.j2").render(
        content=content,
        verdict_class=content.decision.verdict if content.decision else "none",
        summary=summarise(content),
        sections=build_sections(content),
        examples=[each for each in content.comparison.examples if each.segment_id in flac_by_segment],
        flac=flac_by_segment,
    )
