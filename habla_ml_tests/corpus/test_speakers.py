"""The speaker map, and which sessions it holds together."""

from __future__ import annotations

from pathlib import Path

import pytest

from habla_ml.corpus.speakers import group_sessions, load_speaker_map
from habla_ml.errors import SettingsError
from habla_ml_tests.testing.spellings import respell

MAP = """
people:
  - {name: Profe, role: teacher, labels: [SPEAKER_00, Profe]}
  - {name: Ana, role: student, labels: [Ana, Speaker A], sessions: ["1*"]}
  - {name: Luis, role: student, labels: [Speaker A], sessions: ["2*"]}
"""


def write_speaker_map(folder: Path, text: str) -> Path:
    path = folder / "people.yaml"
    path.write_text(text, "utf-8")
    return path


def test_a_label_identifies_a_person_only_in_their_sessions(tmp_path: Path) -> None:
    speakers = load_speaker_map(write_speaker_map(tmp_path, MAP))
    found = [speakers.find_person(*pair) for pair in (("1a", "Speaker A"), ("2a", "Speaker A"), ("3a", "Speaker A"))]
    assert [person and person.name for person in found] == ["Ana", "Luis", None]
    teacher = speakers.find_person("3a", "Profe")
    assert teacher is not None
    assert teacher.role == "teacher"
    assert load_speaker_map(None).people == ()


@pytest.mark.parametrize("label", respell("Lucía Peña"))
def test_a_person_is_found_in_every_spelling_of_label_and_session(tmp_path: Path, label: str) -> None:
    text = "people: [{name: Lucía, role: student, labels: [lucía peña], sessions: ['Taller Ñ*']}]"
    speakers = load_speaker_map(write_speaker_map(tmp_path, text))
    assert speakers.find_person("taller n\u03037", label) is speakers.people[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("people: [{name: A, role: pupil, labels: [a]}]", "people.0.role"),
        (
            "people: [{name: A, role: student, labels: [a]}, {name: A, role: student, labels: [b]}]",
            r"people\.0 and people\.1 .* have the same name",
        ),
        (
            "people:\n- {name: Lucía, role: student, labels: [a]}\n- {name: ' LUCI\u0301A', role: student, labels: [b]}\n",
            r"people\.0 and people\.1 \(counted from 0; lines 2 and 3\) have the same name",
        ),
        ("people:\n- name: A\n  role: student\n  labels: [a]\n  name: B\n", "lines 2 and 5 give the same key"),
        ("people: [{name: A, role: student, labels: [7]}]", "labels.0: .* put it in quotes"),
        ("people: [", "YAML"),
    ],
)
def test_an_invalid_map_is_refused_with_file_and_key(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        load_speaker_map(write_speaker_map(tmp_path, text))


def test_a_label_of_two_people_is_refused(tmp_path: Path) -> None:
    speakers = load_speaker_map(write_speaker_map(tmp_path, MAP.replace('["2*"]', '["*"]')))
    with pytest.raises(SettingsError, match=r"people\.1 and people\.2 .* session 1a"):
        speakers.find_person("1a", "Speaker A")


@pytest.mark.parametrize(
    "text",
    [
        "people: [{name: Remedios, role: student, labels: [a]}, {name: Remedios, role: student, labels: [b]}]",
        "people: [{name: A, role: student, labels: Remedios}]",
        "people: [{name: A, role: Remedios, labels: [a]}]",
        "people: [{Remedios: student}]",
        "people: {Remedios: [a]}",
        "people: {Remedios: [a], Remedios: [b]}",
        "people: [{name: Remedios: A}]",
        "people:\n- name: *Remedios",
    ],
)
def test_no_error_about_a_map_contains_a_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load_speaker_map(write_speaker_map(tmp_path, text))
    assert "Remedios" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_an_error_about_an_ambiguous_label_contains_no_name(tmp_path: Path) -> None:
    speakers = load_speaker_map(write_speaker_map(tmp_path, MAP.replace('["2*"]', '["*"]')))
    with pytest.raises(SettingsError) as raised:
        speakers.find_person("1a", "Speaker A")
    assert not any(word in str(raised.value) for word in ("Ana", "Luis", "Speaker A"))


def test_sessions_that_share_a_student_are_one_group_unless_it_becomes_too_large() -> None:
    hours = dict.fromkeys(("a", "b", "c", "d"), 1.0)
    assert group_sessions(hours, {"Ana": ["b", "c"]}, 2.0) == {"a": "a", "b": "b", "c": "b", "d": "d"}
    everywhere = {"Luis": ["a", "b", "c", "d"], "Ana": ["b", "c"]}
    assert group_sessions(hours, everywhere, 2.0) == {"a": "a", "b": "b", "c": "b", "d": "d"}
