"""Sections in Markdown and HTML."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from markupsafe import Markup

from habla_ml.document import BulletList, Details, Drawing, Heading, Paragraph, Section, render_markdown_section
from habla_ml.html import open_template
from habla_ml.tables import IntervalBar, TableCell, TableColumn, TextTable
from habla_ml_tests.testing.html_tags import TagCollector, assert_self_contained

HOSTILE = "<img src=x onerror=alert(1)> | [x](http://evil)"
TABLE = TextTable.of(
    "Rates",
    ["Metric", TableColumn("example", is_private=True), TableColumn("v2", help=f"A model. {HOSTILE}")],
    [
        [
            TableCell("WER", help="Of 100 words, how many are wrong."),
            TableCell("las casas", language="es"),
            TableCell("10 %", bar=IntervalBar(-0.1, 0.1, 0.9, 0.4, "base", 0.3)),
        ]
    ],
    is_public=True,
)
SECTION = Section.of(
    "rates",
    f"Rates {HOSTILE}",
    [
        Heading("Now"),
        Paragraph(HOSTILE, "strong", command="habla-ml `x` -p a"),
        Paragraph(""),
        BulletList(("one", HOSTILE)),
        TABLE,
        Drawing(Markup("<svg></svg>")),
        Details("Folded", (Paragraph("hidden in Markdown"),)),
        Details("Open", (Paragraph("shown"), TABLE), is_open=True),
        Details("Nothing", (TextTable.of("", ["a"], []),)),
    ],
    "Rates",
)


def render(section: Section, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (folder / "sections_package" / "templates").mkdir(parents=True)
    (folder / "sections_package" / "__init__.py").touch()
    (folder / "sections_package" / "templates" / "own.j2").write_text(
        '{% extends "page.html.j2" %}{% from "document.html.j2" import draw_section %}{% block title %}t{% endblock %}'
        "{% block content %}{{ draw_section(section) }}{% endblock %}",
        "utf-8",
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "sections_package", raising=False)
    return open_template("sections_package", "own.j2").render(section=section)


def test_markdown_has_every_block_but_drawings_and_closed_details() -> None:
    text = render_markdown_section(SECTION)
    escaped = r"\<img src=x onerror=alert(1)\> \| \[x\](http:\//evil)"
    assert text.startswith(f"## Rates {escaped}\n\n### Now\n\n**{escaped}** `habla-ml x -p a`\n\n- one\n- {escaped}\n")
    assert "hidden in Markdown" not in text
    assert "svg" not in text
    assert "Nothing" not in text
    assert text.count("| WER | las casas | 10 % |") == 2
    assert render_markdown_section(Section.of("none", "None", [Paragraph(""), BulletList(())])) == ""


def test_html_has_every_block_and_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = render(SECTION, tmp_path, monkeypatch)
    assert_self_contained(page)
    for text in ("<h3>Now</h3>", "hidden in Markdown", "<code>habla-ml `x` -p a</code>", "<svg></svg>"):
        assert text in page
    assert "Nothing" not in page
    found = TagCollector(page)
    assert found.tags.count("table") == 2
    assert len(found.anchors) == len(set(found.anchors))


def test_a_dot_is_at_its_value_and_inside_the_axis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = render(SECTION, tmp_path, monkeypatch)
    assert 'cx="25.00%"' in page
    assert 'x1="0.00%" x2="100.00%"' in page
    assert 'x="75.00%"' in page


def test_a_public_table_loses_its_private_columns() -> None:
    assert [table.title for table in SECTION.tables] == ["Rates", "Rates"]
    public = TABLE.drop_private_columns()
    assert [each.title for each in public.columns] == ["Metric", "v2"]
    assert [cell.text for cell in public.rows[0]] == ["WER", "10 %"]
