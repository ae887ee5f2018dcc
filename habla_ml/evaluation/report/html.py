"""The WER report as one HTML page of `habla_ml.html`."""

from __future__ import annotations

from habla_ml.document import Section
from habla_ml.evaluation.report.content import ReportContent
from habla_ml.evaluation.report.error_browser import ErrorBrowser
from habla_ml.evaluation.report.sections import EXAMPLES_SECTION, build_sections
from habla_ml.evaluation.report.summary import summarise
from habla_ml.evaluation.report.teacher_summary import TITLE, summarise_for_teachers
from habla_ml.html import PageScript, open_template

BROWSER_SECTION = "utterances"
_PACKAGE = "habla_ml.evaluation.report"


def render_html(content: ReportContent, browser: ErrorBrowser | None = None) -> str:
    """Return the whole page; the browser of all utterances takes the place of the examples."""
    sections = build_sections(content)
    if browser is not None:
        kept = [each for each in sections if each.id != EXAMPLES_SECTION]
        sections = (*kept[:-1], Section(BROWSER_SECTION, "", (), "Every utterance"), kept[-1])
    return open_template(_PACKAGE, "report.html.j2").render(
        content=content,
        verdict_class=content.decision.verdict if content.decision else "none",
        summary=summarise(content),
        teacher_title=TITLE,
        teacher_sentences=summarise_for_teachers(content),
        sections=sections,
        browser=browser,
        browser_section=BROWSER_SECTION,
        script=PageScript.load(_PACKAGE, "error_browser.js"),
    )
