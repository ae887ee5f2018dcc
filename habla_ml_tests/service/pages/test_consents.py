"""The page Consentimientos: record, list and withdraw, only by people with the right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from habla_ml.inbox.consents import find_standing_consent, list_awaiting_erasure, mark_erased, read_all_consents
from habla_ml_tests.service.pages.conftest import NOW, Pages
from habla_ml_tests.service.pages.test_status import read_text
from habla_ml_tests.testing.recorded_days import SimulatedSegment, publish_recordings

CHILD = "c-017"


def read_form(html: str) -> dict[str, str]:
    found = dict(re.findall(r'<input[^>]* name="(consent_id|asked_at|given_on)" value="([^"]+)"', html))
    (text,) = re.findall(r'<option value="([^"]+)"[^>]* selected', html)
    return {**found, "text": text}


def record(pages: Pages, pseudonym: str = CHILD, **fields: str) -> int:
    form = {**read_form(pages.client.get("/consents").text), "pseudonym": pseudonym, **fields}
    return pages.client.post("/consents", data=form).status_code


def read_states(pages: Pages) -> list[tuple[str, str]]:
    """Return pseudonym and state of each person on the page."""
    html = pages.client.get("/consents").text
    return re.findall(r'<strong>([^<]+)</strong>\s*<span class="tag[^"]*">([^<]+)<', html)


def test_a_consent_is_recorded_with_the_text_that_the_person_saw(pages: Pages) -> None:
    assert record(pages) == 303
    with pages.state.database.read() as connection:
        (consent,) = read_all_consents(connection)
    assert (consent.contributor, consent.document, consent.document_version) == (CHILD, "voice", 1)
    assert (consent.given_at, consent.account_id, consent.minor) == (NOW, "local", False)
    assert read_states(pages) == [(CHILD, "valid")]


def test_a_form_that_is_sent_twice_is_one_consent(pages: Pages) -> None:
    form = {**read_form(pages.client.get("/consents").text), "pseudonym": CHILD}
    assert [pages.client.post("/consents", data=form).status_code for _ in range(2)] == [303, 303]
    with pages.state.database.read() as connection:
        assert len(read_all_consents(connection)) == 1


def test_a_minor_needs_the_consent_of_a_guardian(pages: Pages) -> None:
    record(pages, minor="true")
    assert read_states(pages) == [(CHILD, "guardian missing")]
    record(pages, minor="true", guardian="true")
    assert read_states(pages) == [(CHILD, "valid")]


def test_a_consent_on_paper_has_its_own_day_and_none_is_of_the_future(pages: Pages) -> None:
    record(pages, given_on="2026-11-20")
    with pages.state.database.read() as connection:
        (consent,) = read_all_consents(connection)
    assert consent.given_at.isoformat() == "2026-11-20T11:00:00+00:00"
    assert record(pages, "c-018", given_on="2026-12-24") == 422
    assert record(pages, "c-018", text="voice-9.es") == 422
    assert record(pages, "\u200b") == 422


def test_a_withdrawal_shows_first_what_it_erases_and_then_waits_for_the_erasure(pages: Pages, tmp_path: Path) -> None:
    spoken = [SimulatedSegment("clase", number, seconds=6.0, speaker=CHILD) for number in (1, 2)]
    publish_recordings(pages.state.lake, "2026-11-27", spoken, tmp_path)
    record(pages)
    with pages.state.database.read() as connection:
        (consent,) = read_all_consents(connection)
    address = f"/consents/{consent.consent_id}/withdraw"
    text = read_text(pages.client.get(address).text)
    assert "2 recordings, with their texts and corrections (0.2 minutes)" in " ".join(text.split())
    assert read_states(pages) == [(CHILD, "valid")]
    assert pages.client.post(address).headers["location"] == "/consents"
    assert read_states(pages) == [(CHILD, "being erased")]
    with pages.state.database.read() as connection:
        assert find_standing_consent(connection, CHILD) is None
        assert list_awaiting_erasure(connection) == [CHILD]
    assert record(pages) == 422
    with pages.state.database.write() as connection:
        mark_erased(connection, CHILD, NOW)
    assert read_states(pages) == [(CHILD, "withdrawn")]


@pytest.mark.parametrize("name", ["00000000-0000-4000-8000-000000000000", "c-017"])
def test_an_unknown_consent_cannot_be_withdrawn(pages: Pages, name: str) -> None:
    for answer in (pages.client.get(f"/consents/{name}/withdraw"), pages.client.post(f"/consents/{name}/withdraw")):
        assert answer.status_code in (404, 422)


def test_without_the_right_nothing_of_consents_is_shown_or_changed(pages: Pages) -> None:
    record(pages)
    with pages.state.database.read() as connection:
        (consent,) = read_all_consents(connection)
    client = pages.join("correct", "release", "admin")
    assert "/consents" not in client.get("/").text
    for path in ("/consents", f"/consents/{consent.consent_id}/withdraw"):
        for answer in (client.get(path), client.post(path)):
            assert answer.status_code == 403
            assert CHILD not in answer.text
    assert read_states(pages) == [(CHILD, "valid")]


def test_a_hostile_pseudonym_is_text(pages: Pages) -> None:
    record(pages, "<script>alert(1)</script>")
    assert "<script>alert" not in pages.client.get("/consents").text
