"""The register: the data of a contributor, and the validity of a consent."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habla_ml.consent.register import Contributor, Register, Voice, digest_claim, load_register
from habla_ml.consent.tombstones import Erasure, Tombstones, digest_contributor
from habla_ml.errors import InputError
from habla_ml.lake import compute_digest
from habla_ml_tests.testing.spellings import spellings_of

TODAY = date(2026, 5, 1)
ENTRY_DIGEST = "b74d852659bd4579bacf5d5ec037b761"
CLAIM_DIGEST = "597ce1d3b7f018e372474d69a3080fc8"
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
    assert entry.covers("Taller_1", "ana", "x")
    assert not entry.covers("taller1", "Anna", "x")
    assert entry.covers("other", None, "seg-7")


def test_the_digests_in_stored_lakes_depend_on_the_data_and_not_on_the_consent() -> None:
    entry = Contributor(contributor="c-1", sessions=("taller_*",))
    assert entry.digest == ENTRY_DIGEST
    assert entry.model_copy(update={"given": GIVEN, "withdrawn": TODAY, "minor": True}).digest == ENTRY_DIGEST
    others = [{"contributor": "c-2"}, {"sessions": ()}, {"segments": ("s",)}, {"speakers": (Voice(label="Ana"),)}]
    assert len({ENTRY_DIGEST, *(entry.model_copy(update=each).digest for each in others)}) == 5
    assert digest_claim("c-1", "session") == CLAIM_DIGEST
    assert digest_claim("c-1", "speaker Ana") != CLAIM_DIGEST != digest_claim("c-2", "session")


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


def test_a_withdrawn_consent_wins_over_one_that_is_not_given_yet() -> None:
    both = Register(
        contributors=(
            Contributor(contributor="a", sessions=("s",)),
            Contributor(contributor="b", given=GIVEN, withdrawn=GIVEN, speakers=(Voice(label="Lucía"),)),
        )
    )
    refusing = both.find_refusing_contributor("s", "LUCÍA", "x", TODAY)
    assert refusing is not None
    assert refusing.is_withdrawn(TODAY)


@given(typed=st.sampled_from(["Lucía Peña", "ÑOÑO", "María José", "Straße 7"]), data=st.data())
def test_every_spelling_has_the_same_decision_claim_entry_and_erasures(typed: str, data: st.DataObject) -> None:
    label, pseudonym = data.draw(spellings_of(typed)), data.draw(spellings_of(typed))
    by_label = Contributor(contributor="c-1", withdrawn=GIVEN, speakers=(Voice(label=typed, sessions=("Taller ñ*",)),))
    by_name = Contributor(contributor=typed, withdrawn=GIVEN)
    session = data.draw(spellings_of("taller Ñandú"))
    for register in (Register(contributors=(by_label,)), Register(contributors=(by_name,))):
        entry = register.contributors[0]
        assert register.find_refusing_contributor(session, label, "x", TODAY) is entry
        assert entry.find_claim(session, label, "x") == f"speaker {typed}"
        assert entry.find_claim(session, label, "x") in entry.list_claims(session)
    assert Register(contributors=(by_name,)).find(pseudonym) is by_name
    erasure = Erasure(digest_contributor(label), "2026-05-01T00:00:00+00:00", 1, 0.1, (), ())
    assert Tombstones(erasures=(erasure,)).find_erasures(pseudonym) == (erasure,)


def test_an_erasure_of_an_earlier_version_is_found_by_the_name_as_typed() -> None:
    digest = compute_digest(["habla_ml.contributor", "Lucía"])
    erasure = Erasure(digest, "2026-05-01T00:00:00+00:00", 1, 0.1, (), ())
    assert Tombstones(erasures=(erasure,)).find_erasures("Lucía") == (erasure,)


def test_names_and_days_of_the_register_are_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "consents.yaml"
    path.write_text(
        "\ufeffcontributors:\n- contributor: no\n  given: '2026-01-01'\n  minor: no\n"
        "  speakers: [{label: 010}, {label: 12:30:00}]\n",
        "utf-8",
    )
    voices = (Voice(label="010"), Voice(label="12:30:00"))
    assert load_register(path).contributors == (Contributor(contributor="no", given=GIVEN, speakers=voices),)


def test_a_register_is_read_and_a_fault_is_an_error_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "consents.yaml"
    path.write_text("contributors:\n- contributor: c-1\n  given: 2026-01-01\n  sessions: [a_*]\n")
    assert load_register(path).find("c-1") == Contributor(contributor="c-1", given=GIVEN, sessions=("a_*",))
    assert load_register(path).find("c-2") is None
    path.write_text("")
    assert load_register(path).contributors == ()
    for text, fault in [
        (
            "contributors:\n- contributor: a\n\n- contributor: ' A'\n",
            "two entries for one contributor, at lines 2 and 4",
        ),
        ("contributors:\n- contributor: a\n  minor: true\n  contributor: b\n", "lines 2 and 4 give the same key"),
        ("contributors: [{contributor: ' '}]", "has no visible character"),
        ("contributors: [{contributor: 2026-01-01}]", "contributor: .* valid string; put it in quotes"),
        ("contributors: [{contributor: a, name: Ana}]", r"contributors\.0\.name"),
        ("contributors: [{contributor: a, given: soon}]", r"contributors\.0\.given: expected a day .* like 2026-02-16"),
        ("contributors: [{contributor: a, given: 2026-02-30}]", r"given: is '2026-02-30': expected a day"),
        ("contributors: [{contributor: a, given: 16/02/2026}]", r"given: is '16/02/2026': expected a day"),
        ("contributors: [{contributor: a, given: 2026-02-16 10:00:00}]", r"given: is 2026-02-16T10:00:00: expected"),
        ("contributors: [{contributor: a, given: 0}]", r"given: is 0: expected a day"),
        ("contributors: [{contributor: a, given: '0'}]", r"given: is '0': expected a day"),
        ("contributors: [", "cannot be read"),
        ("contributors:\n- contributor: a\n\tminor: true\n", "it is not YAML at line 3;"),
    ]:
        path.write_text(text)
        with pytest.raises(InputError, match=fault):
            load_register(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_register(tmp_path / "none.yaml")
