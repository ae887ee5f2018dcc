"""Who may use the pages: a person with a session, or the person at the machine; no other site in their name."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert
from starlette.testclient import TestClient

from habla_ml.errors import SettingsError
from habla_ml.inbox.accounts import disable_account, invite, list_accounts
from habla_ml.inbox.database import open_database
from habla_ml.inbox.schema import ACCOUNTS
from habla_ml.names import canonical_name
from habla_ml.service.app import create_app
from habla_ml.service.pages.sessions import load_secret
from habla_ml.service.state import ServiceState
from habla_ml_tests.testing.deployment_settings import write_settings

BROWSER = {"Accept": "text/html", "Accept-Language": "en", "Sec-Fetch-Site": "same-origin"}
PHRASE = "caballo grapa bateria"
HOME = "Better transcripts for your classroom"
PUBLIC = "https://habla.example"


def make_client(folder: Path, base: str = PUBLIC, address: str = "203.0.113.7", **service: Any) -> TestClient:
    settings = write_settings(folder, service=service or {"public_url": PUBLIC})
    return TestClient(
        create_app(ServiceState(settings)), base, client=(address, 50_000), headers=BROWSER, follow_redirects=False
    )


def invite_person(client: TestClient) -> str:
    state: ServiceState = client.app.state.service  # type: ignore[attr-defined]
    return invite(state.database, ["correct"], datetime.now(UTC), timedelta(days=1))


def join(client: TestClient, name: str = "Ana") -> None:
    form = {"code": invite_person(client), "name": name, "password": PHRASE, "language": "en"}
    assert client.post("/join", data=form).headers["location"] == "/"


def is_home(client: TestClient, **headers: str) -> bool:
    answer = client.get("/", headers=headers)
    return answer.status_code == 200 and HOME in answer.text


@pytest.mark.long
def test_a_person_joins_signs_out_and_signs_in(tmp_path: Path) -> None:
    client = make_client(tmp_path)
    assert client.get("/").headers["location"] == "/sign-in"
    join(client)
    assert is_home(client)
    client.post("/sign-out")
    assert not is_home(client)
    answer = client.post("/sign-in", data={"name": "ana", "password": PHRASE, "next": "/sign-in"})
    assert answer.headers["location"] == "/sign-in"
    assert is_home(client)


@pytest.mark.long
def test_the_language_can_be_changed_on_every_page_and_is_remembered(tmp_path: Path) -> None:
    client, elsewhere = make_client(tmp_path), make_client(tmp_path)
    assert '<html lang="en">' in client.get("/sign-in").text
    answer = client.post("/language", data={"language": "es", "next": "/join"})
    assert answer.headers["location"] == "/join"
    assert {"HttpOnly", "Secure", "SameSite=lax"} <= set(answer.headers["set-cookie"].split("; "))
    assert '<html lang="es">' in client.get("/join").text
    join(client)  # with "en" in the form
    assert '<html lang="en">' in client.get("/").text
    client.post("/language", data={"language": "es"})
    assert '<html lang="es">' in client.get("/").text
    assert elsewhere.post("/sign-in", data={"name": "Ana", "password": PHRASE}).status_code == 303
    assert '<html lang="es">' in elsewhere.get("/").text
    client.post("/sign-out")
    assert '<html lang="es">' in client.get("/sign-in").text


def test_a_language_that_does_not_exist_or_another_site_changes_nothing(tmp_path: Path) -> None:
    client = make_client(tmp_path)
    join(client)
    assert client.post("/language", data={"language": "xx"}).status_code == 422
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert client.post("/language", data={"language": "es"}, headers=foreign).status_code == 403
    assert client.post("/language", data={"language": "en", "next": "//evil.example"}).headers["location"] == "/"
    assert '<html lang="en">' in client.get("/").text


def test_the_cookie_is_kept_from_scripts_other_sites_and_open_connections(tmp_path: Path) -> None:
    client = make_client(tmp_path)
    form = {"code": invite_person(client), "name": "Ana", "password": PHRASE, "language": "en"}
    cookie = client.post("/join", data=form).headers["set-cookie"]
    assert cookie.startswith("__Host-habla_session=")
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))


@pytest.mark.parametrize("is_disabled", [True, False])
def test_signing_out_and_disabling_end_stolen_copies_of_the_cookie(tmp_path: Path, is_disabled: bool) -> None:
    client, thief = make_client(tmp_path), make_client(tmp_path)
    join(client)
    thief.cookies.update(client.cookies)
    assert is_home(thief)
    if is_disabled:
        disable_account(open_database(write_settings(tmp_path)), "Ana", datetime.now(UTC))
    else:
        client.post("/sign-out")
    assert not is_home(thief)


def test_a_forged_cookie_is_no_session(tmp_path: Path) -> None:
    client = make_client(tmp_path)
    join(client)
    name, value = next(iter(client.cookies.items()))
    for forged in ("", "x", value[:-2] + "xx", value.replace(".", "..", 1)):
        client.cookies.clear()
        client.cookies.set(name, forged)
        assert not is_home(client)


@pytest.mark.parametrize(
    ("headers", "is_accepted"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": PUBLIC}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": PUBLIC}, False),
        ({"Origin": PUBLIC}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "https://habla.example.evil.example"}, False),
        ({"Origin": "null"}, False),
        ({}, False),
    ],
)
def test_a_form_is_accepted_from_a_page_of_the_service_only(
    tmp_path: Path, headers: dict[str, str], is_accepted: bool
) -> None:
    client = make_client(tmp_path)
    join(client)
    del client.headers["Sec-Fetch-Site"]
    assert client.post("/sign-out", headers=headers).status_code == (303 if is_accepted else 403)
    assert is_home(client) is not is_accepted


@pytest.mark.long
def test_attempts_to_guess_a_password_are_slowed_down(tmp_path: Path) -> None:
    state = ServiceState(
        write_settings(tmp_path, service={"public_url": PUBLIC}), lambda: datetime(2026, 11, 29, 8, tzinfo=UTC)
    )
    client = TestClient(create_app(state), PUBLIC, headers=BROWSER)
    form = {"name": "Ana", "password": "wrong"}
    answers = [client.post("/sign-in", data=form) for _ in range(11)]
    assert [each.status_code for each in answers] == [422] * 10 + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 900


@pytest.mark.long
@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil.example", "/%0d%0aX: y\n", "javascript:1"]
)
def test_a_sign_in_leads_to_a_page_of_the_service_only(tmp_path: Path, path: str) -> None:
    client = make_client(tmp_path, address="203.0.113.8")
    join(client)
    answer = client.post("/sign-in", data={"name": "Ana", "password": PHRASE, "next": path})
    assert answer.headers["location"] == "/"


LOCAL = {"host": "127.0.0.1"}


@pytest.mark.parametrize(
    ("base", "address", "service", "headers", "is_local"),
    [
        ("http://127.0.0.1:8787", "127.0.0.1", LOCAL, {}, True),
        ("http://localhost:8787", "127.0.0.1", LOCAL, {}, True),
        ("http://[::1]:8787", "::1", {"host": "::1"}, {}, True),
        ("http://127.0.0.1:8787", "127.0.0.1", {"host": "192.168.1.10"}, {}, False),
        ("http://127.0.0.1:8787", "192.168.1.20", LOCAL, {}, False),
        ("http://rebound.example:8787", "127.0.0.1", LOCAL, {}, False),
        ("http://localhost.evil.example", "127.0.0.1", LOCAL, {}, False),
        ("http://127.0.0.1:8787", "127.0.0.1", {**LOCAL, "public_url": PUBLIC}, {}, False),
        ("http://127.0.0.1:8787", "127.0.0.1", {**LOCAL, "trusted_proxies": ["127.0.0.1"]}, {}, False),
        ("http://127.0.0.1:8787", "127.0.0.1", LOCAL, {"X-Forwarded-For": "127.0.0.1"}, False),
        ("http://127.0.0.1:8787", "127.0.0.1", LOCAL, {"Forwarded": "for=127.0.0.1"}, False),
        ("http://127.0.0.1:8787", "127.0.0.1", LOCAL, {"Via": "1.1 proxy"}, False),
    ],
)
def test_only_a_person_at_the_machine_needs_no_account(
    tmp_path: Path, base: str, address: str, service: dict[str, Any], headers: dict[str, str], is_local: bool
) -> None:
    client = make_client(tmp_path, base, address, **service)
    assert is_home(client, **headers) is is_local


def test_all_workers_sign_with_one_key_that_only_its_user_can_read(tmp_path: Path) -> None:
    settings = write_settings(tmp_path)
    assert load_secret(settings, {}) == load_secret(settings, {})
    assert len(load_secret(settings, {})) == 64
    assert (tmp_path / "service" / "session_secret").stat().st_mode & 0o777 == 0o600
    assert [each.name for each in (tmp_path / "service").iterdir()] == ["session_secret"]
    assert load_secret(settings, {"HABLA_SERVICE_SECRET": "x" * 32}) == "x" * 32
    with pytest.raises(SettingsError, match="openssl rand"):
        load_secret(settings, {"HABLA_SERVICE_SECRET": "short"})
    (settings.service_folder / "session_secret").write_text("")  # anybody can sign with it
    with pytest.raises(SettingsError, match="session_secret has 0 characters, needed are 32; delete the file"):
        load_secret(settings, {})


def test_only_an_account_with_the_right_invites_and_disables(tmp_path: Path) -> None:
    client = make_client(tmp_path)
    join(client)
    state: ServiceState = client.app.state.service  # type: ignore[attr-defined]
    for answer in (
        client.get("/people"),
        client.post("/people/invite", data={"rights": "admin"}),
        client.post("/people/disable", data={"name": "Ana"}),
    ):
        assert answer.status_code == 403
    assert [each.disabled_at for each in list_accounts(state.database)] == [None]


def test_an_account_is_found_among_hundreds(tmp_path: Path) -> None:
    client = make_client(tmp_path, "http://127.0.0.1:8787", "127.0.0.1", host="127.0.0.1")
    state: ServiceState = client.app.state.service  # type: ignore[attr-defined]
    names = ["José Muñoz", *(f"Persona {number:03}" for number in range(120))]
    common = {"password_hash": "", "rights": [], "language": "es", "created_at": datetime.now(UTC)}
    rows = [{"account_id": str(uuid4()), "name": each, "name_key": canonical_name(each), **common} for each in names]
    with state.database.write() as connection:
        connection.execute(insert(ACCOUNTS), rows)
    assert client.get("/people").text.count("<strong>") == 25
    assert "101 to 121 of 121" in client.get("/people?page=5").text
    found = client.get("/people", params={"search": "MUÑOZ"}).text
    assert (found.count("<strong>"), "José Muñoz" in found) == (1, True)


def test_an_invitation_needs_a_right_that_exists(tmp_path: Path) -> None:
    client = make_client(tmp_path, "http://127.0.0.1:8787", "127.0.0.1", host="127.0.0.1")
    assert client.post("/people/invite", data={"rights": ["correct", "release"]}).status_code == 200
    for rights in ([], ["everything"]):
        assert client.post("/people/invite", data={"rights": rights}).status_code == 422
    assert client.post("/people/disable", data={"name": "Berta"}).status_code == 404
