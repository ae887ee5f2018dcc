"""Requirements list what is wrong with a text and change nothing."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from habla_ml.corpus.conventions import load_conventions
from habla_ml.errors import CorpusError
from habla_ml_tests.testing.habla_sessions import V1, V2

V3 = V1.with_name("orthographic-v3.yaml")
VERBATIM = V1.with_name("verbatim-v1.yaml")
CONVENTIONS_V3, VERBATIM_CONVENTIONS = load_conventions(V3), load_conventions(VERBATIM)

# Characters that rules and requirements match, so that hypothesis generates them often.
TYPED = st.text(st.sampled_from("aehmñoéHE \u00a0\t\n.,;:?!¿¡…-—'\"*_«»“’[]()123%\u0301\u0303\u200bоΑ"), max_size=24)


def demanding(tmp_path: Path, **changes: Any) -> Path:
    """Version 1 with one requirement: no digits."""
    one = {
        "name": "digits",
        "of": "sentence",
        "must_not_match": "[0-9]",
        "explanation": "e",
        "tests": [{"text": "3", "holds": False}, {"text": "tres", "holds": True}],
    }
    made = {key: value for key, value in {**one, **changes}.items() if value is not None}
    body = yaml.safe_load(V1.read_text("utf-8")) | {"requirements": [made]}
    path = tmp_path / "demanding.yaml"
    path.write_text(yaml.safe_dump(body), "utf-8")
    return path


@pytest.mark.parametrize("conventions", [CONVENTIONS_V3, VERBATIM_CONVENTIONS], ids=["orthographic", "verbatim"])
@pytest.mark.parametrize(
    ("text", "violations"),
    [
        ("Hola, ¿cómo estás?", ()),
        ("Que?", ("question without ¿",)),
        ("¿Qué", ("¿ without question mark",)),
        ("Vamos!", ("exclamation without ¡",)),
        ("¡Vamos", ("¡ without exclamation mark",)),
        ("¿Qué? ¡No! ¿Y tú?", ()),
        ("Son las 3:15.", ("digits",)),
        ("Hola  niños.", ("doubled spaces",)),
        ("Hola [risas].", ("unknown marker",)),
        ("[risas]", ("unknown marker",)),
        ("[Noise] Hola.", ()),
        ("Los ni\u00f1\u043es.", ("look-alike letter",)),
        ("\u039fye, ni\u00f1o.", ("look-alike letter",)),
        ("Los nin\u0303os.", ("decomposed accent",)),
        ("Hola (risas).", ("marker in round brackets", "only letters and marks")),
        ("El diez %.", ("only letters and marks",)),
        ("Està aquí.", ("letter foreign to Spanish",)),
        ("Que  es  3?", ("doubled spaces", "question without ¿", "digits")),
        ("", ()),
        ("...", ()),
    ],
)
def test_each_broken_requirement_is_named_in_the_order_of_the_file(
    conventions: Any, text: str, violations: tuple[str, ...]
) -> None:
    assert conventions.read(text).violations == violations


@given(TYPED)
def test_requirements_never_change_a_sentence_or_a_problem(text: str) -> None:
    bare = replace(CONVENTIONS_V3, requirements=()).read(text)
    reading = CONVENTIONS_V3.read(text)
    assert (reading.sentence, reading.problem, ()) == (bare.sentence, bare.problem, bare.violations)


@given(TYPED)
def test_applying_the_verbatim_rules_twice_changes_nothing(text: str) -> None:
    once = VERBATIM_CONVENTIONS.read(text).sentence
    assert VERBATIM_CONVENTIONS.read(once).sentence == once


def test_a_letter_joins_its_accent_after_a_zero_width_character_was_removed() -> None:
    assert VERBATIM_CONVENTIONS.read("E\u200b\u0301l").sentence == "\u00c9l"


WORDS = ("Eh,", "ni-", "niños", "hola.", "¿qué?", "*wifi*", "[noise]", "...", "mmm", "«el»", "tema—")


@given(st.lists(st.sampled_from(WORDS), max_size=8))
def test_orthographic_text_never_contains_hesitations_false_starts_or_quotes(words: list[str]) -> None:
    sentence = CONVENTIONS_V3.read(" ".join(words)).sentence
    left = [word for word in words if word in ("niños", "hola.", "¿qué?", "tema—")]
    assert sentence.count("niños") == left.count("niños")
    assert sentence.count("tema") == left.count("tema—")
    assert not any(each in sentence for each in ("Eh", "ni- ", "*", '"', "mmm", "…", "[", "  "))


def test_orthographic_and_verbatim_text_differ_in_hesitations_and_false_starts() -> None:
    typed = "Ehhh... quiero una ca-, una mesa, ¿eh?"
    assert CONVENTIONS_V3.read(typed).sentence == "quiero una una mesa, ¿eh?"
    assert VERBATIM_CONVENTIONS.read(typed).sentence == "Eh… quiero una ca-, una mesa, ¿eh?"


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="the digest has the Unicode tables of Python 3.11")
def test_files_without_requirements_keep_their_digest() -> None:
    assert load_conventions(V1).digest.startswith("a1465b957d61ef56")
    assert load_conventions(V2).digest.startswith("cfe360b6ed473597")


def test_the_digest_depends_on_requirements_but_not_on_their_explanations(tmp_path: Path) -> None:
    plain = load_conventions(demanding(tmp_path))
    assert plain.digest != load_conventions(V1).digest
    assert load_conventions(demanding(tmp_path, explanation="otra")).digest == plain.digest
    assert load_conventions(demanding(tmp_path, must_not_match="\\d")).digest != plain.digest


def test_a_text_without_a_required_match_is_a_violation(tmp_path: Path) -> None:
    ends = {
        "name": "full stop",
        "must_not_match": None,
        "must_match": "[.?!]$",
        "tests": [{"text": "Sí", "holds": False}, {"text": "Sí.", "holds": True}],
    }
    conventions = load_conventions(demanding(tmp_path, **ends))
    assert [conventions.read(text).violations for text in ("No", "No.", "[noise]")] == [("full stop",), (), ()]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"must_match": "a"}, "needs either must_match or must_not_match"),
        ({"must_not_match": None}, "needs either must_match or must_not_match"),
        ({"must_not_match": "("}, "requirement digits: invalid pattern"),
        ({"of": "audio"}, "requirements.0.of: "),
        ({"tests": [{"text": "a", "holds": True}, {"text": "b", "holds": True}]}, "one with holds: false"),
        ({"tests": [{"text": "a", "holds": True}]}, "requirements.0.tests: "),
        ({"tests": [{"text": "3", "holds": True}, {"text": "4", "holds": False}]}, "'3' breaks it"),
        ({"tests": [{"text": "a", "holds": False}, {"text": "b", "holds": True}]}, "'a' satisfies it"),
    ],
)
def test_an_invalid_requirement_or_a_failing_case_is_refused(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CorpusError) as caught:
        load_conventions(demanding(tmp_path, **changes))
    assert reason in str(caught.value)
    assert "demanding.yaml" in str(caught.value)


def test_a_case_of_the_file_can_name_the_requirements_that_its_text_breaks(tmp_path: Path) -> None:
    path = demanding(tmp_path)
    body = yaml.safe_load(path.read_text("utf-8"))
    body["tests"] = [{"from": "Son 3", "to": "Son 3", "violations": []}]
    path.write_text(yaml.safe_dump(body), "utf-8")
    with pytest.raises(CorpusError, match=r"'Son 3' breaks \['digits'\], but its case expects \[\]"):
        load_conventions(path)


def test_two_requirements_with_the_same_name_are_refused(tmp_path: Path) -> None:
    path = demanding(tmp_path)
    body = yaml.safe_load(path.read_text("utf-8"))
    body["requirements"] *= 2
    path.write_text(yaml.safe_dump(body), "utf-8")
    with pytest.raises(CorpusError, match="two requirements have the same name"):
        load_conventions(path)
