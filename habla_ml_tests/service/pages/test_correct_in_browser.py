"""A teacher corrects clips in a real Chromium, by keyboard and by touch, with and without a network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select, text, update

from habla_ml.annotation.review_queue import ReviewItem
from habla_ml.inbox.schema import ANSWERS, HAND_OUTS
from habla_ml.service.app import create_app
from habla_ml.service.state import ServiceState
from habla_ml_tests.testing.clips_to_correct import HINT, make_clip, make_review_deployment
from habla_ml_tests.testing.served_pages import note_faults, open_chromium, serve

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True, "locale": "es-ES"}
LAPTOP = {"viewport": {"width": 1200, "height": 900}, "locale": "en-GB"}
AS_THEY_CAME = text("rowid")
"""Their times have the delay of each request, so on a busy machine those of two clips can change places."""
COUNT_LOADED_CLIPS = """() => performance.getEntriesByType("resource").filter(
    (each) => each.name.endsWith("/audio") && each.responseEnd > 0
).length"""
WATCH_BUTTON = """() => {
  const button = document.getElementById("play");
  window.shown = [];
  new MutationObserver(() => window.shown.push(button.textContent)).observe(button, { childList: true });
}"""
COUNT_DRAWN_PIXELS = """() => {
    const canvas = document.getElementById("wave");
    return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.filter((each) => each > 0).length;
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


class Desk:
    """The page of one person, and the database behind it."""

    def __init__(self, state: ServiceState, address: str, page: Page) -> None:
        self.state, self.address, self.page = state, address, page
        self.watched = note_faults(page, address)
        page.goto(f"{address}/correct")

    @property
    def answers(self) -> list[tuple[str, str, str]]:
        """Status, text and reason of what is in the database, in the order in which it came."""
        query = select(ANSWERS.c.status, ANSWERS.c.text, ANSWERS.c.reason).order_by(AS_THEY_CAME)
        with self.state.database.read() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def expect_clip(self, text: str) -> None:
        expect(self.page.get_by_role("textbox")).to_have_value(text)

    def expect_playing_after(self, key: str) -> None:
        """Press a key and wait until the clip played; it is so short that a look at the button can miss it."""
        self.page.evaluate(WATCH_BUTTON)
        self.page.keyboard.press(key)
        self.wait_until(lambda: "Stop" in self.page.evaluate("() => window.shown"))

    def expect_saved(self) -> None:
        expect(self.page.locator("#state")).to_have_attribute("data-kind", "saved")

    def wait_for_clips(self, number: int) -> None:
        """Wait until the browser has the audio of that many clips."""
        self.wait_until(lambda: self.page.evaluate(COUNT_LOADED_CLIPS) >= number)

    def wait_until(self, is_done: Callable[[], bool]) -> None:
        """Wait for a state; the page's policy forbids Playwright's own wait."""
        deadline = time.monotonic() + 20
        while not is_done():
            assert time.monotonic() < deadline
            self.page.wait_for_timeout(20)


@pytest.fixture
def open_desk(chromium: Browser, tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    with ExitStack() as stack:

        def make(*items: ReviewItem, **context: Any) -> Desk:
            state = ServiceState(make_review_deployment(tmp_path, *items)[0])
            address = stack.enter_context(serve(create_app(state)))
            opened = chromium.new_context(**context)
            stack.callback(opened.close)
            return Desk(state, address, opened.new_page())

        yield make


def make_queue() -> list[ReviewItem]:
    return [make_clip(1), make_clip(2, "segundo"), make_clip(3, "tercero"), make_clip(4, "", 1)]


def test_a_teacher_corrects_confirms_marks_and_undoes_by_keyboard(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(*make_queue(), **LAPTOP)
    keyboard = desk.page.keyboard
    text = desk.page.get_by_role("textbox")
    desk.expect_clip(HINT)
    expect(text).to_be_focused()
    text.fill("bueno pues vamos a empezar")
    keyboard.press("Enter")
    desk.expect_clip("segundo")
    expect(desk.page.get_by_role("button", name="Correct as it is")).to_be_visible()
    keyboard.press("Control+Enter")
    desk.expect_clip("tercero")
    keyboard.press("Alt+u")
    keyboard.press("2")
    desk.expect_clip("")
    expect(desk.page.get_by_text("no text on purpose")).to_be_visible()
    expect(desk.page.get_by_role("button", name="Save", exact=True)).to_be_disabled()
    keyboard.press("Escape")
    keyboard.press("z")
    desk.expect_clip("tercero")
    keyboard.press("Escape")
    keyboard.press("s")
    desk.expect_clip("")
    text.press_sequentially("lo que oigo")
    keyboard.press("Enter")
    expect(desk.page.get_by_text("No clip waits for you")).to_be_visible()
    desk.expect_saved()
    assert desk.answers == [
        ("corrected", "bueno pues vamos a empezar", ""),
        ("confirmed", "segundo", ""),
        ("unusable", "", "no_speech"),
        ("withdrawn", "", ""),
        ("skipped", "", ""),
        ("corrected", "lo que oigo", ""),
    ]
    expect(desk.page.locator("#progress")).to_contain_text("yours this week: 3")
    assert desk.watched.faults == []


def test_the_clip_plays_with_the_speed_and_from_two_seconds_before(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(make_clip(1), **LAPTOP)
    desk.page.get_by_label("Play each clip").dispatch_event("click")
    expect(desk.page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    expect(desk.page.get_by_role("button", name="Stop")).to_have_count(0, timeout=10_000)
    desk.wait_until(lambda: desk.page.evaluate(COUNT_DRAWN_PIXELS) > 1000)  # without its audio, a clip cannot play
    desk.page.keyboard.press("Escape")
    desk.page.keyboard.press("1")
    expect(desk.page.get_by_role("radio", name="0.7")).to_be_checked()
    desk.expect_playing_after("Space")
    expect(desk.page.get_by_role("button", name="Play", exact=True)).to_be_visible(timeout=10_000)
    assert desk.page.get_by_role("slider").input_value() == "100"
    desk.expect_playing_after("r")


def test_answers_wait_while_there_is_no_network_even_over_a_closed_page(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(*make_queue(), **PHONE)
    page = desk.page
    desk.expect_clip(HINT)
    desk.wait_for_clips(3)
    page.context.set_offline(True)
    page.get_by_role("textbox").fill("en el autobús")
    page.get_by_role("button", name="Guardar").tap()
    desk.expect_clip("segundo")
    page.get_by_role("button", name="Está bien así").tap()
    desk.expect_clip("tercero")
    expect(page.locator("#state")).to_have_text("Sin conexión. Por guardar: 2. No se pierde nada, puedes seguir.")
    page.get_by_role("textbox").fill("a medio escri")
    assert desk.answers == []
    page.close()
    desk.page = page = page.context.new_page()
    page.context.set_offline(False)
    page.goto(f"{desk.address}/correct")
    desk.expect_clip("a medio escri")
    desk.expect_saved()
    assert desk.answers == [("corrected", "en el autobús", ""), ("confirmed", "segundo", "")]


def test_an_answer_whose_response_is_lost_is_saved_once(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(make_clip(1), make_clip(2, "segundo"), **LAPTOP)
    lost: list[str] = []

    def lose(route: Any) -> None:
        route.fetch()
        lost.append(route.request.url)
        route.abort()

    desk.page.clock.install()
    desk.page.reload()
    desk.page.route("**/answers", lose, times=2)
    desk.expect_clip(HINT)
    desk.page.get_by_role("textbox").fill("una vez")
    desk.page.keyboard.press("Enter")
    desk.expect_clip("segundo")
    for attempt in (1, 2):
        desk.wait_until(lambda attempt=attempt: len(lost) == attempt)
        expect(desk.page.locator("#state")).to_have_attribute("data-kind", "offline")
        desk.page.clock.fast_forward(5_000)  # past the pause before the next attempt
    desk.expect_saved()
    assert len(lost) == 2
    assert desk.answers == [("corrected", "una vez", "")]


def test_the_answer_of_another_person_is_shown_and_can_be_taken(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(make_clip(1), **LAPTOP)
    desk.expect_clip(HINT)
    with desk.state.database.write() as connection:
        given = connection.execute(select(HAND_OUTS)).mappings().one()
        shared = {name: given[name] for name in ("segment_id", "session_id", "day", "seen_text", "model_version")}
        theirs = {"answer_id": "a" * 36, "text": "la de eva", "status": "corrected", "person": "Eva"}
        rest = {"reason": "", "speaker": "", "attempt": 0, "is_blind": False, "created_at": given["handed_out_at"]}
        connection.execute(ANSWERS.insert().values(**shared, **theirs, **rest))
    desk.page.get_by_role("textbox").fill("la mía")
    desk.page.keyboard.press("Enter")
    expect(desk.page.get_by_text("Eva wrote: la de eva")).to_be_visible()
    expect(desk.page.locator("#state")).to_have_attribute("data-kind", "conflict")
    desk.watched.check()
    desk.page.get_by_role("button", name="Take theirs").click()
    desk.expect_saved()
    assert [each[0] for each in desk.answers] == ["corrected", "corrected", "withdrawn"]


def test_a_speaker_is_chosen_or_typed_and_sent_only_where_it_changed(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(*make_queue(), make_clip(5), **PHONE)
    page, speakers = desk.page, desk.page.get_by_label("Quién habla")
    save = page.locator("#save")
    desk.expect_clip(HINT)
    save.tap()
    desk.expect_clip("segundo")
    speakers.select_option("Otra persona…")
    typed = page.get_by_label("Seudónimo de esa persona")
    expect(typed).to_be_focused()
    typed.press_sequentially(" s u ")
    desk.watched.check()
    typed.press("Enter")
    desk.expect_clip("tercero")
    expect(typed).to_be_hidden()
    expect(speakers.locator("option")).to_have_text(["No lo sé", "Ana", "Luis", "s u", "Otra persona…"])
    speakers.select_option("No lo sé")
    save.tap()
    desk.expect_clip("")
    page.get_by_role("button", name="Deshacer").tap()
    desk.expect_clip("tercero")
    expect(speakers).to_have_value("No lo sé")
    speakers.select_option("Luis")
    save.tap()
    desk.expect_clip("")
    desk.expect_saved()
    with desk.state.database.read() as connection:
        query = select(ANSWERS.c.speaker).order_by(AS_THEY_CAME)
        assert list(connection.scalars(query)) == ["", "s u", "unknown", "", "Luis"]
    assert desk.watched.faults == []


def test_a_refused_answer_is_shown_with_its_text(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(make_clip(1), **LAPTOP)
    desk.expect_clip(HINT)
    with desk.state.database.write() as connection:
        connection.execute(update(HAND_OUTS).values(person_key="nobody"))
    desk.page.get_by_role("textbox").fill("no se pierde")
    desk.page.keyboard.press("Enter")
    expect(desk.page.get_by_text("This answer was not taken: no se pierde")).to_be_visible()


@pytest.mark.slow
@pytest.mark.parametrize("device", [PHONE, LAPTOP], ids=["phone", "laptop"])
def test_the_page_is_accessible_and_fits_in_light_and_dark_colours(
    open_desk: Callable[..., Desk], device: dict[str, Any]
) -> None:
    desk = open_desk(make_clip(1, f"{HINT} " * 6), **device)
    page = desk.page
    expect(page.locator("#clip")).to_be_visible()
    page.locator("#unusable").click()
    page.locator("#history summary").click()
    page.locator("#keys").evaluate("(keys) => { keys.open = true; }")
    expect(page.locator("#history-list li")).to_have_count(1)
    for is_dark in (False, True):
        desk.watched.show_colours(is_dark=is_dark)
        desk.watched.check()
