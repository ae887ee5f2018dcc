"""The common template of all HTML pages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from habla_ml.html import open_template
from habla_ml_tests.testing.html_tags import TagCollector, assert_self_contained

HOSTILE = '"></title><script>alert(1)</script><img src=x onerror=alert(1)>'
PAGE = """{% extends "page.html.j2" %}
{% block title %}{{ text }}{% endblock %}
{% block style %}b { color: red; }{% endblock %}
{% block content %}<b title="{{ text }}">{{ text | louder }}</b><audio src="{{ flac | audio }}"></audio>{% endblock %}
"""


@pytest.fixture
def template_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a package with its own template."""
    (tmp_path / "a_package" / "templates").mkdir(parents=True)
    (tmp_path / "a_package" / "__init__.py").touch()
    (tmp_path / "a_package" / "templates" / "own_page.j2").write_text(PAGE, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "a_package", raising=False)
    return "a_package"


def test_a_packages_page_has_the_common_head_its_own_style_and_nothing_to_fetch(template_package: str) -> None:
    page = open_template(template_package, "own_page.j2", louder=str.upper).render(text=HOSTILE, flac=b"fLaC")
    assert page.startswith("<!doctype html>")
    assert_self_contained(page)
    assert "&lt;SCRIPT&gt;" in page
    assert TagCollector(page).sources == ["data:audio/flac;base64,ZkxhQw=="]
    assert page.index("--accent") < page.index("b { color: red; }") < page.index("</style>")


def test_an_undefined_name_is_an_error(template_package: str) -> None:
    with pytest.raises(UndefinedError, match="text"):
        open_template(template_package, "own_page.j2", louder=str.upper).render(flac=b"fLaC")
