"""The page Estado: what it says of an empty and of a released deployment, its reports, and the way back."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from habla_ml.release.channel import read_channel
from habla_ml.release.keys import change_keys
from habla_ml.release.moves import rollback
from habla_ml.release.signing import generate_key, load_keys, save_key
from habla_ml.service.app import create_app
from habla_ml.service.pages import status_cache
from habla_ml.service.pages.status_summary import Growth, StatusSummary, read_status_summary
from habla_ml.service.state import ServiceState
from habla_ml_tests.service.pages.conftest import BROWSER, NOW, Pages

LOCAL = ("127.0.0.1", 50_000)


def read_text(html: str) -> str:
    """Return the words of a page."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def read_move(pages: Pages) -> tuple[str, int]:
    current = read_channel(pages.state.release_store, "stable").current
    assert current is not None
    return current.model_version, current.sequence


def test_an_empty_deployment_says_what_to_do_first(pages: Pages) -> None:
    text = read_text(pages.client.get("/status").text)
    assert "0 of 10 hours of corrected speech. 10 more hours and a new version is trained." in text
    assert "There is no version of your own yet." in text
    assert "Nothing has been released yet." in text


def test_the_last_minutes_of_the_hours_are_not_rounded_away(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = replace(read_status_summary(pages.state), growth=Growth(9.96, 10.0, 12.34))
    monkeypatch.setattr(status_cache, "read_status_summary", lambda _: summary)
    text = read_text(pages.client.get("/status").text)
    assert "9.96 of 10 hours of corrected speech. 0.04 more hours and a new version is trained." in text
    assert "In total, 12.34 hours" in text


def test_a_version_has_its_verdict_in_a_sentence_and_its_report(
    pages: Pages, add_versions: Callable[[Pages], None]
) -> None:
    add_versions(pages)
    text = read_text(pages.client.get("/status").text)
    assert re.search(r"Of 100 words it gets 1\d(\.\d)? wrong; the model without your corrections gets 3\d(\.\d)?", text)
    assert "It is better than what was in use before it." in text
    assert "Phones and classrooms get v2, released on November 19, 2026." in text
    spanish = pages.client.get("/status", headers={**BROWSER, "Accept-Language": "es"}).text
    assert "Los teléfonos y las aulas reciben v2, publicada el 19 de noviembre de 2026." in read_text(spanish)


def test_a_report_is_kept_in_a_sandbox_and_needs_an_account(
    pages: Pages, add_versions: Callable[[Pages], None]
) -> None:
    add_versions(pages)
    answer = pages.client.get("/reports/v2")
    assert "<!doctype html>" in answer.text
    policy = answer.headers["content-security-policy"].split("; ")
    assert "sandbox allow-scripts" in policy
    assert "default-src 'none'" in policy
    for missing in ("v3", "v2-s2", "V2", "v2.html"):
        assert pages.client.get(f"/reports/{missing}").status_code == 404
    stranger = pages.join("correct")
    stranger.cookies.clear()
    assert stranger.get("/reports/v2").headers["location"] == "/sign-in?next=/reports/v2"


@pytest.mark.long
def test_a_person_with_the_right_goes_back_to_an_earlier_release(
    pages: Pages, add_versions: Callable[[Pages], None]
) -> None:
    add_versions(pages)
    client = pages.join("release")
    page = client.get("/status").text
    form = dict(re.findall(r'name="(seen)" value="(\d+)"', page))
    form["version"] = re.findall(r'<option value="([^"]+)"', page)[0]
    address = client.post("/rollback", data=form).headers["location"]
    assert read_move(pages) == ("v1", 3)
    assert "A person went back to it." in client.get(address).text


def test_the_state_is_read_once_for_everybody_and_anew_after_a_move_and_when_it_is_old(
    pages: Pages, add_versions: Callable[[Pages], None]
) -> None:
    clock = [NOW]
    state = ServiceState(pages.state.settings, lambda: clock[0])
    # Two workers with caches of their own.
    first, second = (TestClient(create_app(state), "http://127.0.0.1:8787", client=LOCAL) for _ in range(2))
    nothing = "Nothing has been released yet."
    assert all(nothing in each.get("/status", headers=BROWSER).text for each in (first, second))
    add_versions(pages)
    clock[0] += timedelta(seconds=29)
    assert all(nothing in each.get("/status", headers=BROWSER).text for each in (first, second))
    moved = first.get("/status?sequence=2", headers=BROWSER).text
    assert "Phones and classrooms get v2" in moved
    assert nothing in second.get("/status", headers=BROWSER).text
    clock[0] += timedelta(seconds=1)
    assert nothing not in second.get("/status", headers=BROWSER).text


def test_everybody_waits_for_one_reading(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = []

    def read_slowly(state: ServiceState) -> StatusSummary:
        readings.append(state)
        time.sleep(0.1)
        return read_status_summary(state)

    monkeypatch.setattr(status_cache, "read_status_summary", read_slowly)
    cache = status_cache.StatusCache(pages.state)
    with ThreadPoolExecutor(8) as pool:
        found = set(map(id, pool.map(lambda _: cache.read(), range(8))))
    assert (len(readings), len(found)) == (1, 1)


def test_a_release_that_changed_since_the_person_looked_stays(
    pages: Pages, add_versions: Callable[[Pages], None]
) -> None:
    add_versions(pages)
    first = read_channel(pages.state.release_store, "stable").releases[0].version
    second = rollback(pages.state.release_store, "stable", None, NOW)
    rollback(pages.state.release_store, "stable", "v2", NOW)
    assert second.model_version == "v1"
    answer = pages.client.post("/rollback", data={"version": first, "seen": "2"})
    assert answer.status_code == 409
    assert "Another person changed this meanwhile." in answer.text
    assert read_move(pages) == ("v2", 4)


def test_a_release_of_a_replaced_key_is_refused_with_the_reason(
    pages: Pages, add_versions: Callable[[Pages], None]
) -> None:
    add_versions(pages)
    store, settings = pages.state.release_store, pages.state.settings
    first = read_channel(store, "stable").releases[0]
    form = {"version": first.version, "seen": "2"}
    (old,), new = load_keys(settings.keys_folder, "release"), generate_key()
    save_key(settings.keys_folder, "release", new)
    roots = load_keys(settings.keys_folder, "root")
    change_keys(store, roots, NOW, add={new.key_id: new.public_text}, revoke=[old.key_id])
    answer = pages.client.post("/rollback", data=form, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/release-refused")
    assert f"--to {first.version} --unverified" in answer.json()["detail"]
    shown = pages.client.post("/rollback", data=form, headers=BROWSER).text
    assert "or the right key is not here. Tell the technician." in shown
    assert f"--to {first.version} --unverified" in read_text(shown)
    assert read_move(pages) == ("v2", 2)


def test_a_machine_without_a_release_key_says_where_to_go_back(
    pages: Pages, add_versions: Callable[[Pages], None]
) -> None:
    add_versions(pages)
    first = read_channel(pages.state.release_store, "stable").releases[0]
    for each in pages.state.settings.keys_folder.glob("release-*.pem"):
        each.unlink()
    shown = pages.client.post("/rollback", data={"version": first.version, "seen": "2"}, headers=BROWSER)
    assert shown.status_code == 409
    # As in a container of its own: every file of the release is there, so a person must not look for a lost one.
    assert "no key that signs releases is on this machine" in read_text(shown.text)
    assert f"habla-ml rollback --to {first.version} --seen 2" in read_text(shown.text)
    assert read_move(pages) == ("v2", 2)


@pytest.mark.long
def test_without_the_right_there_is_no_button_and_no_way_back(
    pages: Pages, add_versions: Callable[[Pages], None]
) -> None:
    add_versions(pages)
    client = pages.join("correct", "consents", "admin")
    assert "/rollback" not in client.get("/status").text
    first = read_channel(pages.state.release_store, "stable").releases[0].version
    assert client.post("/rollback", data={"version": first, "seen": "2"}).status_code == 403
    assert client.post("/rollback", data={"version": "v9", "seen": "2"}).status_code == 403
    assert read_move(pages) == ("v2", 2)


def test_an_unknown_release_is_refused(pages: Pages, add_versions: Callable[[Pages], None]) -> None:
    add_versions(pages)
    assert pages.client.post("/rollback", data={"version": "v9", "seen": "2"}).status_code == 404
    assert pages.client.post("/rollback", data={"version": "v1"}).status_code == 422


def test_a_lake_that_cannot_be_read_is_a_problem_on_the_page(pages: Pages) -> None:
    (pages.folder / "lake").write_text("not a folder")
    answer = pages.client.get("/status")
    assert answer.status_code == 200
    assert "Show this page to that person." in answer.text
