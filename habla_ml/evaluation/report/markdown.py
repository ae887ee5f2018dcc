"""The report as Markdown, for a pull request or a model card."""

from __future__ import annotations

from habla_ml.document import BulletList, Section, render_markdown_section
from habla_ml.evaluation.report.content import ReportContent
from habla_ml.evaluation.report.sections import build_sections
from habla_ml.evaluation.report.summary import summarise
from habla_ml.evaluation.report.teacher_summary import TITLE, summarise_for_teachers
from habla_ml.tables import escape_markdown


def render_markdown(content: ReportContent) -> str:
    """Return the same figures as the HTML page, without audio."""
    summary = summarise(content)
    top = " ".join([f"**{summary.verdict}.**", *map(escape_markdown, summary.sentences)])
    teachers = render_markdown_section(
        Section.of("teachers", TITLE, [BulletList(summarise_for_teachers(content), language="es")])
    )
    sections = map(render_markdown_section, build_sections(content))
    parts = [f"# {escape_markdown(summary.headline)}", top, teachers, *sections]
    return "\n\n".join(filter(None, parts)) + "\n"
