"""The register: the data of a contributor, and the validity of a consent."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from habla_ml.consent.register import Contributor, Register, Voice, load_register
from habla_ml.errors import InputError

TODAY = date(2026, 5, 1)
GIVEN = date(2026, 1, 1)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (Contributor(contributor="c", given=GIVEN), None),
        (Contributor(contributor="c"), "given no consent"),
        (Contributor(contributor="c", given=date(2026, 5, 2)), "given no consent"),
        (Contributor(contributor="c", given=GIVEN, withdrawn=TODAY), "withdrawn on 2026-05-01"),
        (Contributor(contributor="c", given=GIVEN, withdrawn=date(2026, 5, 2)), None),
        (Contributor(contributor="c", given=GIVEN, minor=True), "no guardian"),
        (Contributor(contributor="c", given=GIVEN, minor=True, guardian_given=GIVEN), None),
        (Contributor(contributor="c", minor=True, guardian_given=GIVEN), "given no consent"),
    ],
)
def test_a_consent_is_valid_from_its_start_to_its_withdrawal(entry: Contributor, reason: str | None) -> None:
    found = entry.explain_refusal(TODAY)
    assert found is None if reason is None else reason in (found or "")


def test_sessions_speakers_and_segments_belong_to_a_contributor() -> None:
    entry = Contributor(
        contributor="c",
        sessions=("taller_*",),
        speakers=(Voice(label="Ana"), Voice(label="Speaker A", sessions=("clase_2026*",))),
        segments=("seg-7",),
    )
    assert entry.covers("taller_1", None, "x")
    assert entry.covers("other", " Ana ", "x")
    assert entry.covers("clase_20260216_100000", "Speaker A", "x")
    assert not entry.covers("clase_20270101_100000", "Speaker A", "x")
    assert not entry.covers("Taller_1", "ana", "x")
    assert entry.covers("other", None, "seg-7")


def test_a_segment_is_refused_if_one_of_its_contributors_refuses() -> None:
    both = Register(
        contributors=(
            Contributor(contributor="a", given=GIVEN, sessions=("s",)),
            Contributor(contributor="b", given=GIVEN, withdrawn=GIVEN, speakers=(Voice(label="B"),)),
        )
    )
    refusing = both.find_refusing_contributor("s", "B", "x", TODAY)
    assert refusing is not None
    assert refusing.contributor == "b"
    assert both.find_refusing_contributor("s", "A", "x", TODAY) is None
    assert both.find_refusing_contributor("other", None, "x", TODAY) is None


def test_a_register_is_read_and_a_fault_is_an_error_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "consents.yaml"
    path.write_text("contributors:\n- contributor: c-1\n  given: 2026-01-01\n  sessions: [a_*]\n")
    assert load_register(path).find("c-1") == Contributor(contributor="c-1", given=GIVEN, sessions=("a_*",))
    assert load_register(path).find("c-2") is None
    path.write_text("")
    assert load_register(path).contributors == ()
    for text, fault in [
        ("contributors: [{contributor: a}, {contributor: a}]", "names 'a' twice"),
        ("contributors: [{contributor: a, name: Ana}]", r"contributors\.0\.name"),
        ("contributors: [{contributor: a, given: soon}]", r"contributors\.0\.given"),
        ("contributors: [", "cannot be read"),
    ]:
        path.write_text(text)
        with pytest.raises(InputError, match=fault):
            load_register(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_register(tmp_path / "none.yaml")
