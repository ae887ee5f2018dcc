"""The error browser in a real Chromium, opened as a file without a network."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, expect, sync_playwright

from habla_ml.audio import encode_mp3
from habla_ml.corpus.snapshot import Utterance
from habla_ml.evaluation.comparison.compare import compare_with_error_tables
from habla_ml.evaluation.comparison.error_tables import ErrorTables
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.metrics.inputs import DecodedModel, ModelRole
from habla_ml.evaluation.report import ReportContent, write_report
from habla_ml.evaluation.report.error_browser import AudioSelection, build_error_browser
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.options import DecodingOptions
from habla_ml_tests.testing.simulated_hypotheses import (
    TEST_PROVENANCE,
    TEST_SETTINGS,
    make_utterances,
    simulate_hypotheses,
)

HOSTILE = "</script><img src=x onerror=document.title='broken'>"
SECOND = (np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000) / 4).astype(np.float32)


def compare(utterances: list[Utterance]) -> tuple[Comparison, ErrorTables]:
    """The first utterance has a hostile text, the second a text with each kind of error, the others simulated ones."""
    models = []
    roles: tuple[ModelRole, ...] = ("base", "candidate")
    for at, role in enumerate(roles):
        found = simulate_hypotheses(utterances, (0.4, 0.1)[at], at)
        if role == "candidate":
            found[0] = Hypothesis(found[0].audio_sha256, f"{HOSTILE} " * 8, 0.1, 1.0)
            found[1] = Hypothesis(found[1].audio_sha256, "uno dos y tres cinco", 0.1, 1.0)
        models.append(DecodedModel(("base", "v2")[at], role, str(at) * 64, DecodingOptions(), found))
    return compare_with_error_tables(utterances, models, TEST_SETTINGS, TEST_PROVENANCE)


@pytest.fixture(scope="module")
def utterances() -> list[Utterance]:
    made = make_utterances(6, 10)
    made[0] = replace(made[0], sentence=HOSTILE)
    made[1] = replace(made[1], sentence="Uno dos tres cuatro.")
    return [replace(each, audio=SECOND[: 8000 + 100 * at].copy()) for at, each in enumerate(made)]


@pytest.fixture(scope="module")
def chromium_page(utterances: list[Utterance], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("no Chromium: apt-get install -y --no-install-recommends chromium, then run again")
    comparison, tables = compare(utterances)
    files = write_report(ReportContent(comparison), utterances, tmp_path_factory.mktemp("report"), tables)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        page = browser.new_page()
        faults: list[str] = []
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url))
        page.goto(files.html.as_uri())
        yield page
        assert [each for each in faults if each != files.html.as_uri() and not each.startswith("blob:")] == []
        browser.close()


@pytest.fixture(autouse=True)
def _unfiltered(request: pytest.FixtureRequest) -> None:
    if "chromium_page" in request.fixturenames:
        request.getfixturevalue("chromium_page").reload()


def test_hostile_text_stays_text(chromium_page: Page) -> None:
    expect(chromium_page.locator("#browser-count")).to_have_text("60 of 60 utterances, page 1 of 3")
    chromium_page.get_by_label("Search").fill("<img onerror")
    expect(chromium_page.locator("#browser-list blockquote")).to_have_text([HOSTILE])
    expect(chromium_page.locator("#browser-list .hypothesis").last).to_contain_text("onerror")
    assert chromium_page.title() != "broken"
    assert chromium_page.locator("#browser-list img").count() == 0


def test_each_kind_of_error_is_marked(chromium_page: Page) -> None:
    chromium_page.get_by_label("Search").fill("uno cuatro")
    expect(chromium_page.locator("#browser-list .example")).to_have_count(1)
    words = chromium_page.locator("#browser-list .hypothesis", has_text="v2").locator(".words")
    expect(words.locator("ins")).to_have_text("y")
    expect(words.locator("ruby.substitute rt")).to_have_text("cuatro")
    expect(words).to_contain_text("tres cinco")
    chromium_page.get_by_label("Search").fill("úno")
    expect(chromium_page.locator("#browser-list .example")).to_have_count(1)
    chromium_page.get_by_label("Search").fill("no such words")
    expect(chromium_page.locator("#browser-count")).to_have_text("0 of 60 utterances, page 1 of 1")


def test_utterances_are_filtered_by_slice_and_turned_page_by_page(
    chromium_page: Page, utterances: list[Utterance]
) -> None:
    chromium_page.get_by_label("Loudness").select_option(label="quiet (below -35 dBFS)")
    quiet = sum(each.loudness_dbfs < -35 for each in utterances)
    expect(chromium_page.locator("#browser-count")).to_have_text(f"{quiet} of 60 utterances, page 1 of 1")
    chromium_page.get_by_label("Speaker", exact=True).select_option(label="Ana")
    both = sum(each.loudness_dbfs < -35 and each.speaker == "Ana" for each in utterances)
    expect(chromium_page.locator("#browser-count")).to_contain_text(f"{both} of 60")
    chromium_page.reload()
    following = chromium_page.get_by_role("button", name="Next →").first
    following.click()
    following.click()
    expect(chromium_page.locator("#browser-list .example")).to_have_count(10)
    expect(following).to_be_disabled()


@pytest.mark.parametrize("order", ["errors", "worse", "better", "long", "short", "quiet"])
def test_every_order_sorts_all_utterances(chromium_page: Page, utterances: list[Utterance], order: str) -> None:
    comparison, tables = compare(utterances)
    data = json.loads(build_error_browser(comparison, [], tables.utterances).utterances)
    errors = {row[0]: row[9] for row in data["rows"]}
    keys = {
        "errors": lambda each: -errors[each.segment_id][1],
        "worse": lambda each: errors[each.segment_id][0] - errors[each.segment_id][1],
        "better": lambda each: errors[each.segment_id][1] - errors[each.segment_id][0],
        "long": lambda each: -each.duration_s,
        "short": lambda each: each.duration_s,
        "quiet": lambda each: each.loudness_dbfs,
    }
    chromium_page.get_by_label("Order").select_option(order)
    shown = chromium_page.locator("#browser-list blockquote").all_text_contents()
    assert shown == [each.sentence for each in sorted(utterances, key=keys[order])][:25]


def test_a_button_plays_the_audio_of_its_utterance(chromium_page: Page, utterances: list[Utterance]) -> None:
    for spoken in (utterances[1], utterances[40]):
        chromium_page.get_by_label("Search").fill(spoken.segment_id)
        chromium_page.locator("#browser-list .play").first.click()
        player = chromium_page.locator("#browser-list audio")
        player.evaluate(
            "each => new Promise((done) => { if (each.currentTime > 0) done();"
            "each.addEventListener('timeupdate', () => { if (each.currentTime > 0) done(); }); })"
        )
        length_s = player.evaluate("each => each.duration")
        assert length_s == pytest.approx(len(spoken.audio) / 16_000, abs=0.15)


def test_mp3_is_small_the_same_each_time_and_the_same_sound() -> None:
    encoded = encode_mp3(np.tile(SECOND, 10))
    assert encoded == encode_mp3(np.tile(SECOND, 10))
    assert len(encoded) < 10 * 3300
    samples, rate = soundfile.read(io.BytesIO(encoded), dtype="float32")
    spectrum = np.abs(np.fft.rfft(samples))
    assert rate == 16_000
    assert np.argmax(spectrum) * rate / len(samples) == pytest.approx(440, abs=1)


def test_the_clips_with_the_most_errors_are_kept_within_the_size(utterances: list[Utterance]) -> None:
    sizes = [len(encode_mp3(each.audio)) for each in utterances[:10]]
    selection = AudioSelection(sum(sizes[-3:]))
    for interest, each in enumerate(utterances[:10]):
        selection.offer(each, interest)
    assert list(selection.sounds) == [each.segment_id for each in utterances[7:10]]
    late = AudioSelection(sizes[9])
    for interest, each in enumerate(reversed(utterances[:10])):
        late.offer(each, -interest)
    assert list(late.sounds) == [utterances[9].segment_id]
    late.offer(replace(utterances[0], audio=np.empty(0, np.float32)), 99)
    assert len(late.sounds) == 1


@pytest.mark.slow
def test_an_utterance_without_audio_keeps_its_texts(utterances: list[Utterance]) -> None:
    comparison, tables = compare(utterances)
    found = build_error_browser(comparison, utterances[5:], tables.utterances)
    rows = json.loads(found.utterances)["rows"]
    assert found.count == len(rows) == 60
    assert found.playable == 55
    assert [row[7] for row in rows[:6]] == [-1] * 5 + [0]
    sounds = [base64.b64decode(each) for chunk in found.audio for each in json.loads(chunk)]
    assert sounds == [encode_mp3(each.audio) for each in utterances[5:]]
