"""Every page in a real Chromium on a phone and a laptop: no fault, no other host, nothing that axe objects to."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from habla_ml.annotation.review_queue import ReviewItem, save_queue
from habla_ml.lake import catalogue, compute_digest
from habla_ml.release.channel import read_channel
from habla_ml_tests.service.pages.conftest import NOW, Pages, make_pages, store_versions
from habla_ml_tests.testing.received_consents import give_consent
from habla_ml_tests.testing.recorded_days import SimulatedSegment, publish_recordings
from habla_ml_tests.testing.served_pages import LAPTOP, PHONE, WatchedPage, open_chromium, serve, watch_page

pytestmark = pytest.mark.slow
PICTURES = os.environ.get("HABLA_PICTURES")
"""A folder for screenshots, such as `docs/pictures`; none are taken without it."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    pages = make_pages(tmp_path_factory.mktemp("deployment"))
    store_versions(pages)
    lake = pages.state.lake
    # As `corpus_hours` keeps it for a lake without days.
    lake.move_pointer(catalogue.CORPUS_HOURS, {"inputs": compute_digest([]), "hours": 6.4}, None)
    save_queue(lake, [make_item(number) for number in range(24)], NOW)
    for name in ("c-017", "c-018"):
        give_consent(pages.state.database, name)
    give_consent(pages.state.database, "c-021", minor=True)
    return pages


def make_item(number: int) -> ReviewItem:
    return ReviewItem(
        segment_id=f"00000000-0000-5000-8000-{number:012}",
        session_id="clase",
        day="2026-11-27",
        speaker="c-017",
        duration_s=3.0,
        hint="hola",
        model_version="v2",
        score=1.0,
        reasons=(),
        is_random=False,
    )


@pytest.fixture(scope="module")
def address(deployment: Pages) -> Iterator[str]:
    with serve(deployment.client.app) as address:  # type: ignore[arg-type]
        yield address


def take_picture(watched: WatchedPage, name: str) -> None:
    if PICTURES:
        watched.page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)


@pytest.mark.parametrize("screen", [PHONE, LAPTOP], ids=["phone", "laptop"])
def test_each_page_fits_the_screen_and_everyone_can_use_it_in_light_and_dark_colours(
    chromium: Browser, address: str, screen: dict[str, int]
) -> None:
    watched = watch_page(chromium, address, screen)
    size = "phone" if screen is PHONE else "laptop"
    for path, name in (
        ("/", "start"),
        ("/status", "status"),
        ("/consents", "consents"),
        ("/people", "people"),
        ("/sign-in", "sign_in"),
        ("/join", "join"),
    ):
        watched.open(path)
        for is_dark in (False, True):
            watched.show_colours(is_dark=is_dark)
            watched.check()
            take_picture(watched, f"page_{name}_{size}{'_dark' if is_dark else ''}")


def test_a_long_list_is_searched_and_its_pages_follow_each_other(chromium: Browser, tmp_path: Path) -> None:
    pages = make_pages(tmp_path)
    for number in range(30):
        give_consent(pages.state.database, f"c-{number:03}")
    with serve(pages.client.app) as address:  # type: ignore[arg-type]
        watched = watch_page(chromium, address, PHONE)
        page = watched.page
        watched.open("/consents")
        page.get_by_role("link", name="Siguiente").click()
        expect(page.get_by_text("26 a 30 de 30")).to_be_visible()
        watched.check()
        page.get_by_label("Buscar un seudónimo").fill("C-01")
        page.get_by_label("Buscar un seudónimo").press("Enter")
        expect(page.get_by_text("«C-01» está en 10 nombres.")).to_be_visible()
        expect(page.get_by_role("link", name="Retirar")).to_have_count(10)
        watched.check()
        page.get_by_role("button", name="English").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Consents")
        watched.open("/status")
        expect(page.get_by_role("heading", level=1)).to_have_text("State")
        watched.check()


def test_a_person_records_and_withdraws_a_consent_with_the_keyboard_alone(chromium: Browser, tmp_path: Path) -> None:
    pages = make_pages(tmp_path)
    spoken = [SimulatedSegment("clase", number, seconds=9.0, speaker="c-030") for number in range(1, 9)]
    publish_recordings(pages.state.lake, "2026-11-27", spoken, tmp_path)
    with serve(pages.client.app) as address:  # type: ignore[arg-type]
        watched = watch_page(chromium, address, PHONE)
        watched.open("/consents")
        page = watched.page
        page.get_by_label("Seudónimo").focus()
        page.keyboard.type("c-030")
        page.keyboard.press("Enter")
        row = page.get_by_role("listitem").filter(has_text="c-030")
        expect(row).to_contain_text("vigente")
        row.get_by_role("link", name="Retirar").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Retirar el consentimiento de c-030")
        expect(page.get_by_text("8 grabaciones, con sus textos y correcciones (1,2 minutos)")).to_be_visible()
        watched.check()
        take_picture(watched, "page_withdraw_phone")
        page.get_by_role("button", name="Retirar y borrar").press("Enter")
        expect(row).to_contain_text("borrándose")
        watched.check()


def test_a_report_works_in_its_sandbox_and_reaches_no_session(chromium: Browser, address: str) -> None:
    watched = watch_page(chromium, address, LAPTOP)
    watched.open("/status")
    watched.page.get_by_role("link", name="Informe de v2").click()
    expect(watched.page.get_by_role("heading", level=1)).to_be_visible()
    assert watched.page.evaluate("self.origin") == "null"
    assert watched.page.evaluate("fetch('/status').then(() => 'read', () => 'refused')") == "refused"


def test_a_person_goes_back_to_an_earlier_release(chromium: Browser, deployment: Pages, address: str) -> None:
    watched = watch_page(chromium, address, PHONE)
    watched.open("/status")
    watched.page.get_by_text("Usar otra versión").click()
    watched.check()
    watched.page.get_by_role("button", name="Usar esta versión").click()
    expect(watched.page.get_by_text("Alguien ha vuelto a ella.")).to_be_visible()
    current = read_channel(deployment.state.release_store, "stable").current
    assert current is not None
    assert current.model_version == "v1"
    watched.check()


def test_a_person_is_invited_joins_and_is_disabled(chromium: Browser, deployment: Pages, address: str) -> None:
    watched = watch_page(chromium, address, PHONE)
    watched.open("/people")
    watched.page.get_by_role("button", name="Crear una invitación").click()
    code = watched.page.locator("#code").inner_text()
    watched.check()
    guest = watch_page(chromium, address, PHONE)
    guest.open("/join")
    guest.page.get_by_label("Código de invitación").fill(code)
    guest.page.get_by_label("Nombre").fill("Ana")
    guest.page.get_by_label("Contraseña").fill("tres palabras juntas")
    guest.page.get_by_role("button", name="Crear tu cuenta").click()
    expect(guest.page.get_by_role("button", name="Cerrar sesión")).to_be_visible()
    expect(guest.page.get_by_role("link", name="Consentimientos")).to_have_count(0)
    guest.check()
    watched.open("/people")
    row = watched.page.get_by_role("listitem").filter(has_text="Ana")
    row.get_by_text("Desactivar").first.click()
    row.get_by_role("button", name="Desactivar Ana").click()
    expect(row).to_contain_text("desactivada")
    watched.check()
    assert guest.page.reload() is not None
    expect(guest.page.get_by_role("button", name="Cerrar sesión")).to_have_count(0)


def test_what_a_proxy_speaks_needs_an_account(address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    answers = []
    for protocol in ("1.1", "1.0"):
        with socket.create_connection((host, int(port)), 10) as connection:
            connection.sendall(f"GET / HTTP/{protocol}\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answers.append(connection.makefile("rb").readline())
    assert [each.split()[1] for each in answers] == [b"200", b"401"]


def test_an_error_is_a_page(chromium: Browser, address: str) -> None:
    watched = watch_page(chromium, address, PHONE)
    watched.open("/nothing")
    expect(watched.page.get_by_role("link", name="Ir a la página de inicio")).to_be_visible()
    assert all("404" in each for each in watched.faults)
    watched.faults.clear()
    watched.check()
