"""The page Consentimientos: record, list and withdraw, only by people with the right."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest
from sqlalchemy import insert

from habla_ml.inbox.consents import find_standing_consent, list_awaiting_erasure, mark_erased, read_all_consents
from habla_ml.inbox.schema import CONSENTS
from habla_ml_tests.service.pages.conftest import NOW, Pages, make_pages
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


def make_consent_row(number: int) -> dict[str, object]:
    texts = {"document": "voice", "document_version": 1, "document_digest": "0" * 64}
    who = {"contributor": f"p-{number:04}", "contributor_key": f"p-{number:04}", "minor": False, "guardian": False}
    return {"consent_id": str(uuid.UUID(int=number)), **texts, **who, "given_at": NOW}


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


def test_a_refused_form_has_again_what_the_person_typed(pages: Pages) -> None:
    form = read_form(pages.client.get("/consents").text)
    [other] = {"voice-1.en", "voice-1.es"} - {form["text"]}
    typed = {"pseudonym": CHILD, "given_on": "2026-12-24", "minor": "true", "text": other}
    html = pages.client.post("/consents", data=form | typed).text
    again = read_form(html)
    assert (again["given_on"], again["text"]) == ("2026-12-24", other)
    # Otherwise the second try records a child as an adult, whose consent stands without a guardian.
    assert re.findall(r'name="(minor|guardian)" value="true"( checked)?', html) == [
        ("minor", " checked"),
        ("guardian", ""),
    ]
    assert f'value="{CHILD}"' in html


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
    assert pages.client.post(address).headers["location"] == "/consents?search=c-017"
    assert read_states(pages) == [(CHILD, "being erased")]
    with pages.state.database.read() as connection:
        assert find_standing_consent(connection, CHILD) is None
        assert list_awaiting_erasure(connection) == [CHILD]
    assert record(pages) == 422
    with pages.state.database.write() as connection:
        mark_erased(connection, CHILD, NOW)
    assert read_states(pages) == [(CHILD, "withdrawn")]


def read_names(pages: Pages, query: str) -> list[str]:
    return re.findall(r"<strong>([^<]+)</strong>", pages.client.get(f"/consents{query}").text)


def test_thousands_of_contributors_have_pages_and_a_search(pages: Pages) -> None:
    rows = [make_consent_row(number) for number in range(2_345)]
    with pages.state.database.write() as connection:
        connection.execute(insert(CONSENTS), rows)
    first = pages.client.get("/consents").text
    assert read_names(pages, "")[::24] == ["p-0000", "p-0024"]
    assert "1 to 25 of 2,345" in read_text(first)
    assert 'href="/consents?page=2"' in first
    assert "Previous" not in first
    last = pages.client.get("/consents?page=99").text
    assert "2,326 to 2,345 of 2,345" in read_text(last)
    assert 'href="/consents?page=93"' in last
    assert "Next" not in last
    assert len(read_names(pages, "?search=P-%231")) == 0
    assert read_names(pages, "?search=%20P-0017%20") == ["p-0017"]
    assert read_names(pages, "?search=p-23&page=9") == [f"p-{number}" for number in range(2_325, 2_345)]
    assert "“p-00” is in 100 names" in read_text(pages.client.get("/consents?search=p-00&page=2").text)
    assert 'href="/consents?search=p-00&amp;page=1"' in pages.client.get("/consents?search=p-00&page=2").text


@pytest.mark.parametrize("search", ["%25", "_", "%5C", "%27%20OR%201", "<script>"])
def test_what_a_person_looks_for_is_text(pages: Pages, search: str) -> None:
    record(pages)
    assert read_names(pages, f"?search={search}") == []
    assert "<script>" not in pages.client.get(f"/consents?search={search}").text


@pytest.mark.parametrize("query", ["?page=0", "?page=x", "?page=99999999", f"?search={'x' * 101}"])
def test_a_page_that_cannot_be_is_refused(pages: Pages, query: str) -> None:
    assert pages.client.get(f"/consents{query}").status_code == 422


def test_what_the_registers_file_refuses_and_a_damaged_file_are_shown(tmp_path: Path) -> None:
    registry = tmp_path / "consents.yaml"
    registry.write_text("contributors: [{contributor: C-017, given: 2026-01-01, withdrawn: 2026-02-01}]", "utf-8")
    pages = make_pages(tmp_path, registry=str(registry))
    record(pages)
    record(pages, "c-018")
    note = "not valid in the technician's list"
    page = pages.client.get("/consents").text
    assert page.count(note) == 1
    assert page.index(CHILD) < page.index(note) < page.index("c-018")
    registry.write_text("contributors: [", "utf-8")
    assert "The technician's list cannot be read at the moment." in pages.client.get("/consents").text


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
