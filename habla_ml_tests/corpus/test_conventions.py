"""Conventions load only when their own cases hold."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from habla_ml.corpus.conventions import LONGEST_TYPED_CHARS, NormalisedText, load_conventions
from habla_ml.errors import CorpusError
from habla_ml_tests.testing.habla_sessions import V1, V2

CONVENTIONS_V1 = load_conventions(V1)
NEWEST = [load_conventions(V1.with_name(f"{name}.yaml")) for name in ("orthographic-v4", "verbatim-v2")]


def write_changed_conventions(tmp_path: Path, **values: Any) -> Path:
    body = yaml.safe_load(V1.read_text("utf-8")) | values
    path = tmp_path / "conventions.yaml"
    path.write_text(yaml.safe_dump(body), "utf-8")
    return path


def rule(pattern: str, replacement: str, *cases: dict[str, str]) -> dict[str, Any]:
    made = {"name": "r", "pattern": pattern, "replacement": replacement, "explanation": "e", "tests": [*cases]}
    return {"rules": [made]}


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("Hola, ¿cómo estás?", NormalisedText("Hola, ¿cómo estás?", None)),
        ("  «Los   nin\u0303os»...\n", NormalisedText('"Los niños"…', None)),
        ("¿ Qué  pasa ??", NormalisedText("¿Qué pasa?", None)),
        ("Son las 3:15, o 2,5 horas", NormalisedText("Son las 3:15, o 2,5 horas", None)),
        ("[noise] Buenos días [SILENCE]", NormalisedText("Buenos días", None)),
        ("Buenos [inaudible] días", NormalisedText("Buenos días", "words missing")),
        ("Buenos [risas] días", NormalisedText("Buenos días", "unknown marker")),
        ("[inaudible] [noise]", NormalisedText("", "only markers")),
        ("...", NormalisedText("", "only markers")),
        ("MaÃ±ana.", NormalisedText("MaÃ±ana.", "damaged text")),
        ("Ma\N{REPLACEMENT CHARACTER}ana.", NormalisedText("Ma\N{REPLACEMENT CHARACTER}ana.", "damaged text")),
        ("\N{REPLACEMENT CHARACTER}", NormalisedText("", "damaged text")),
        ("Hola &amp; [inaudible]", NormalisedText("Hola &amp;", "words missing")),
        ("¿?", NormalisedText("", "only markers")),
        ("[risas]", NormalisedText("", "unknown marker")),
        ("", NormalisedText("", "empty")),
        (" \t\u00a0", NormalisedText("", "empty")),
        ("3", NormalisedText("3", None)),
    ],
)
def test_a_typed_text_becomes_a_sentence_or_a_problem(text: str, reading: NormalisedText) -> None:
    assert CONVENTIONS_V1.read(text) == reading


def test_the_second_version_applies_its_changes_and_has_another_digest() -> None:
    two = load_conventions(V2)
    assert (CONVENTIONS_V1.title, two.title) == ("orthographic-v1", "orthographic-v2")
    assert CONVENTIONS_V1.digest != two.digest
    assert CONVENTIONS_V1.read("Eh... pues no.").sentence == "Eh… pues no."
    assert two.read("Eh... pues no.").sentence == "pues no."


@pytest.mark.long
@given(st.text(max_size=60))
@example("0: :")
@example("1 , ,, 2 . . … .")
def test_applying_the_newest_rules_twice_changes_nothing(text: str) -> None:
    for conventions in NEWEST:
        once = conventions.read(text).sentence
        assert conventions.read(once).sentence == once


def test_the_digest_depends_on_rules_but_not_on_explanations(tmp_path: Path) -> None:
    assert load_conventions(write_changed_conventions(tmp_path, description="otra")).digest == CONVENTIONS_V1.digest
    assert load_conventions(write_changed_conventions(tmp_path, version=3)).digest != CONVENTIONS_V1.digest


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"tests": [{"from": "Hola", "to": "Adiós"}]}, "'Hola' becomes 'Hola', but its case expects 'Adiós'"),
        ({"tests": [{"from": "[inaudible]", "to": "x"}]}, "becomes None, but its case expects 'x'"),
        ({"tests": []}, "tests: "),
        ({"name": "Con Espacios"}, "name: "),
        ({"version": 0}, "version: "),
        ({"surprise": 1}, "surprise: Extra inputs"),
        ({"unicode": "NFD"}, "unicode: "),
        (
            rule("(", "", {"from": "a", "to": "a"}),
            "rule r: invalid pattern or replacement",
        ),
        (
            rule("a", "\\2", {"from": "a", "to": ""}),
            "rule r: invalid pattern or replacement",
        ),
        (
            rule("a", "b", {"from": "a", "to": "c"}),
            "rule r: 'a' becomes 'b', but its case expects 'c'",
        ),
        (
            rule("a", "b"),
            "rules.0.tests: ",
        ),
    ],
)
def test_an_invalid_file_or_a_failing_case_is_refused(tmp_path: Path, values: dict[str, Any], reason: str) -> None:
    with pytest.raises(CorpusError) as caught:
        load_conventions(write_changed_conventions(tmp_path, **values))
    assert reason in str(caught.value)
    assert "conventions.yaml" in str(caught.value)


def test_a_missing_file_or_invalid_yaml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: [")
    for name in ("x.yaml", "y.yaml"):
        with pytest.raises(CorpusError, match=name):
            load_conventions(tmp_path / name)
    (tmp_path / "z.yaml").write_text("just text")
    with pytest.raises(CorpusError, match="file: "):
        load_conventions(tmp_path / "z.yaml")


def test_a_text_of_any_length_is_read_at_once() -> None:
    """A pattern of the first versions took 93 s for this text."""
    for path in sorted(V1.parent.glob("*.yaml")):
        conventions = load_conventions(path)
        assert conventions.read("m" * 60_000 + "x") == NormalisedText("", "too long")
        assert conventions.read("sí " * (LONGEST_TYPED_CHARS // 3)).problem is None


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(V1.parent.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_patterns_take_a_time_in_proportion_to_the_text(path: Path) -> None:
    """A text that is 15 times longer would take 200 times as long by a quadratic pattern, some seconds in all."""
    conventions = load_conventions(path)
    patterns = [pattern for pattern, _ in conventions.rules] + [pattern for _, pattern in conventions.requirements]

    @settings(max_examples=60, deadline=None)
    @given(
        st.text("meahE -'.…,?!¿¡\"*_[\u00a0ñx1", min_size=1, max_size=3),
        st.text("meahE -'.…,?!¿¡\"*_[\u00a0ñx1", min_size=1, max_size=3),
        st.sampled_from(["x", "!", " x", "-", ""]),
    )
    def read(first: str, second: str, end: str) -> None:
        text = (first * 30_000)[:15_000] + (second * 30_000)[:15_000] + end
        start_s = time.process_time()
        for pattern in patterns:
            pattern.sub("", text)
        assert time.process_time() - start_s < 2.0

    read()


def test_an_end_of_blanks_and_dashes_is_removed_as_before() -> None:
    before, now = re.compile("^[ -]+| [ -]*$"), load_conventions(V1.with_name("verbatim-v1.yaml"))
    pattern, replacement = next(each for each in now.rules if "(-*) [ -]*$" in each[0].pattern)
    for text in map("".join, itertools.product(" -a", repeat=7)):
        assert pattern.sub(replacement, text) == before.sub("", text), text
