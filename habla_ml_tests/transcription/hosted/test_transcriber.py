"""A transcriber over a service: caps, retries, outages and the fallback."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import EvaluationError
from habla_ml.lake import Lake
from habla_ml.settings.hosted import DeepgramSettings, HostedSettings
from habla_ml.transcription.engine import RecognisedWord, Transcriber
from habla_ml.transcription.hosted.spending import CapReachedError
from habla_ml.transcription.hypothesis_cache import read_hypotheses, read_usage, transcribe_cached
from habla_ml.transcription.open import HostedAccess, open_transcriber
from habla_ml.transcription.options import DecodingOptions, HostedOptions
from habla_ml_tests.testing.transcription_service import CannedReply, FakeTranscriptionService, build_deepgram_response
from habla_ml_tests.transcription.hosted.conftest import spent_usd

pytestmark = pytest.mark.slow

OPTIONS = HostedOptions(engine="deepgram")
GOOD_REPLY = CannedReply.of(build_deepgram_response("Buenos días.", [("Buenos", 0.1, 0.3), ("días.", 0.3, 0.5)]))
OUTAGE_REPLY = CannedReply.of({"err_code": "UNAVAILABLE"}, 503)
LOCAL_OPTIONS = DecodingOptions(beam_size=1, max_new_tokens=20, compression_ratio_threshold=None)
CENT_PER_CLIP: dict[str, Any] = {"usd_per_minute": 0.01, "billed_step_s": 60.0}


class LocalDeepgram:
    """A local Deepgram, and the lake that records what it costs."""

    def __init__(self, server: FakeTranscriptionService, lake: Lake, opened: ExitStack) -> None:
        self.server, self.lake, self._opened = server, lake, opened

    def open(
        self, *replies: CannedReply, options: HostedOptions = OPTIONS, model: Path | None = None, **settings: Any
    ) -> Transcriber:
        """Return a transcriber of a server with these replies; it is closed after the test."""
        self.server.set_replies(*replies)
        chosen = {"monthly_cap_usd": 1.0, "first_pause_s": 0.01, "calls_at_once": 1, **CENT_PER_CLIP, **settings}
        deepgram = DeepgramSettings(endpoint=self.server.url, **chosen)
        access = HostedAccess(HostedSettings(speakers_agreed=True, deepgram=deepgram), self.lake, LOCAL_OPTIONS)
        return self._opened.enter_context(closing(open_transcriber(options, model, "cpu", 1, access)))

    @property
    def calls(self) -> int:
        return len(self.server.received)

    @property
    def spent_usd(self) -> float:
        return spent_usd(self.lake, "deepgram", f"{datetime.now(UTC):%Y-%m}")


@pytest.fixture
def deepgram(fake_service: FakeTranscriptionService, lake: Lake, credentials: str) -> Iterator[LocalDeepgram]:
    with ExitStack() as opened:
        yield LocalDeepgram(fake_service, lake, opened)


def test_transcribed_clips_are_billed_and_counted(deepgram: LocalDeepgram, clips: list[Utterance]) -> None:
    transcriber = deepgram.open(GOOD_REPLY)
    found = transcriber.transcribe(clips[:3])
    assert [each.text for each in found] == ["Buenos días."] * 3
    assert [each.audio_sha256 for each in found] == [each.audio_sha256 for each in clips[:3]]
    assert found[0].words[0] == RecognisedWord("Buenos", 0.1, 0.3, 0.9)
    assert {each.failure for each in found} == {None}
    assert transcriber.usage.cost_usd == pytest.approx(0.03)
    assert transcriber.usage.audio_s == pytest.approx(sum(each.duration_s for each in clips[:3]))
    assert transcriber.usage.peak_memory_bytes is None
    assert deepgram.spent_usd == pytest.approx(0.03)


def test_clips_are_sent_in_parallel(deepgram: LocalDeepgram, clips: list[Utterance]) -> None:
    transcriber = deepgram.open(replace(GOOD_REPLY, delay_s=0.4), calls_at_once=8)
    transcriber.transcribe(clips[:1])
    began_s = time.monotonic()
    transcriber.transcribe(clips[:8])
    duration_s = time.monotonic() - began_s
    assert duration_s < 8 * 0.4 / 2
    assert transcriber.usage.decode_s >= 0.8


def test_costs_are_reserved_before_the_first_call(deepgram: LocalDeepgram, clips: list[Utterance]) -> None:
    transcriber = deepgram.open(GOOD_REPLY)
    seen: list[float] = []
    deepgram.server.on_request = lambda: seen.append(deepgram.spent_usd)
    transcriber.transcribe(clips[:2])
    assert seen == [pytest.approx(0.02)] * 2


def test_a_call_that_would_exceed_the_cap_is_not_made(deepgram: LocalDeepgram, clips: list[Utterance]) -> None:
    deepgram.open(GOOD_REPLY, monthly_cap_usd=0.03).transcribe(clips[:2])
    second = deepgram.open(GOOD_REPLY, monthly_cap_usd=0.03)
    with pytest.raises(CapReachedError, match=r"monthly_cap_usd is 0\.03"):
        second.transcribe(clips[2:4])
    assert deepgram.calls == 2
    assert [each.failure for each in second.transcribe(clips[2:3])] == [None]
    assert deepgram.spent_usd == pytest.approx(0.03)


def test_unusable_audio_is_neither_sent_nor_paid(deepgram: LocalDeepgram, clips: list[Utterance]) -> None:
    transcriber = deepgram.open(GOOD_REPLY)
    broken = replace(clips[0], audio=np.array([np.nan], np.float32))
    found = transcriber.transcribe([broken])
    assert (found[0].failure, deepgram.server.received, deepgram.spent_usd) == ("audio", [], 0.0)
    found = transcriber.transcribe([clips[1], broken])
    assert [each.failure for each in found] == [None, "audio"]
    assert deepgram.calls == 1


def test_a_busy_service_is_called_again_after_the_requested_time(
    deepgram: LocalDeepgram, clips: list[Utterance]
) -> None:
    (found,) = deepgram.open(CannedReply.of({}, 429, Retry_After="1"), GOOD_REPLY).transcribe(clips[:1])
    assert found.text == "Buenos días."
    first, second = deepgram.server.received
    assert 1.0 <= second.at_s - first.at_s < 2.0
    assert found.decode_s > 1.0
    assert deepgram.spent_usd == pytest.approx(0.01), "a refusal is not billed"


def test_pauses_double(deepgram: LocalDeepgram, clips: list[Utterance]) -> None:
    (found,) = deepgram.open(OUTAGE_REPLY, first_pause_s=0.2, attempts=4).transcribe(clips[:1])
    assert (found.failure, deepgram.calls) == ("service", 4)
    assert "HTTP 503 (UNAVAILABLE), after 4 calls" in str(found.reason)
    for (before, after), bound in zip(pairwise(deepgram.server.received), (0.2, 0.4, 0.8), strict=True):
        assert bound / 2 <= after.at_s - before.at_s < bound + 0.2
    assert deepgram.spent_usd == 0.0


@pytest.mark.parametrize(
    ("reply", "settings", "calls", "usd"),
    [
        pytest.param(CannedReply.of({}, 429, Retry_After="3600"), {}, 1, 0.0, id="the requested wait is too long"),
        pytest.param(CannedReply(200, b"<html>", {"Content-Type": "text/html"}), {}, 1, 0.01, id="malformed"),
        pytest.param(
            replace(GOOD_REPLY, delay_s=5.0),
            {"timeout_s": 0.2, "attempts": 4, "monthly_cap_usd": 0.02},
            2,
            0.02,
            id="calls without an answer count as paid and stop at the cap",
        ),
    ],
)
def test_a_clip_without_an_answer_fails_and_costs_what_may_be_billed(
    deepgram: LocalDeepgram, clips: list[Utterance], reply: CannedReply, settings: Any, calls: int, usd: float
) -> None:
    transcriber = deepgram.open(reply, **settings)
    began_s = time.monotonic()
    (found,) = transcriber.transcribe(clips[:1])
    assert time.monotonic() - began_s < 5
    assert (found.failure, deepgram.calls) == ("service", calls)
    assert [transcriber.usage.cost_usd, deepgram.spent_usd] == pytest.approx([usd, usd])


def test_a_clip_takes_no_longer_than_the_options_allow(deepgram: LocalDeepgram, clips: list[Utterance]) -> None:
    options = HostedOptions(engine="deepgram", clip_timeout_s=1.0)
    began_s = time.monotonic()
    (found,) = deepgram.open(replace(GOOD_REPLY, delay_s=30.0), options=options, timeout_s=0.4).transcribe(clips[:1])
    assert time.monotonic() - began_s < 3
    assert found.failure == "service"
    assert deepgram.calls > 1


def test_a_refused_key_is_an_error_and_costs_nothing(
    deepgram: LocalDeepgram, clips: list[Utterance], credentials: str
) -> None:
    transcriber = deepgram.open(CannedReply.of({"err_code": "INVALID_AUTH", "err_msg": credentials}, 401))
    with pytest.raises(EvaluationError, match=r"HTTP 401 \(INVALID_AUTH\).*evaluation.hosted.deepgram") as caught:
        transcriber.transcribe(clips[:4])
    assert credentials not in str(caught.value)
    assert deepgram.calls == 1
    assert deepgram.spent_usd == 0.0


def test_a_key_revoked_during_a_call_loses_no_paid_clip(deepgram: LocalDeepgram, clips: list[Utterance]) -> None:
    transcriber = deepgram.open(GOOD_REPLY, GOOD_REPLY, CannedReply.of({}, 403))
    found = transcriber.transcribe(clips[:5])
    assert [each.failure for each in found] == [None, None, "service", "service", "service"]
    assert deepgram.spent_usd == pytest.approx(0.02)
    with pytest.raises(EvaluationError, match="HTTP 403"):
        transcriber.transcribe(clips[5:])
    assert deepgram.calls == 3


def test_a_refused_clip_does_not_fail_the_others(deepgram: LocalDeepgram, clips: list[Utterance]) -> None:
    refusal = CannedReply.of({"err_code": "Bad_Request"}, 400)
    found = deepgram.open(GOOD_REPLY, refusal, GOOD_REPLY).transcribe(clips[:3])
    assert [each.failure for each in found] == [None, "service", None]
    assert deepgram.calls == 3


def test_a_service_that_is_down_is_an_error_after_five_clips(deepgram: LocalDeepgram, clips: list[Utterance]) -> None:
    with pytest.raises(EvaluationError, match=r"deepgram is down: 5 clips in a row .*HTTP 503"):
        deepgram.open(OUTAGE_REPLY, attempts=2).transcribe(clips)
    assert deepgram.calls == 10
    assert deepgram.spent_usd == 0.0


def test_the_fallback_decodes_clips_of_a_service_that_is_down(
    deepgram: LocalDeepgram, clips: list[Utterance], artefact: Path
) -> None:
    with closing(open_transcriber(LOCAL_OPTIONS, artefact, "cpu", 1)) as alone:
        expected = [each.text for each in alone.transcribe(clips)]
    transcriber = deepgram.open(GOOD_REPLY, OUTAGE_REPLY, model=artefact, fallback=True, attempts=1)
    found = transcriber.transcribe(clips)
    assert [each.text for each in found] == ["Buenos días.", *expected[1:]]
    assert [each.fallback_engine for each in found] == [None] + ["faster-whisper"] * (len(clips) - 1)
    assert {each.failure for each in found} == {None}
    assert all("HTTP 503" in str(each.reason) for each in found[1:])
    assert deepgram.calls == 1 + 5, "after five failed clips the service gets no more"
    assert deepgram.spent_usd == pytest.approx(0.01)
    deepgram.server.set_replies(GOOD_REPLY)
    again = transcriber.transcribe(clips[:2])
    assert [each.fallback_engine for each in again] == [None, None], "the next call uses the service again"


def test_a_refused_key_is_an_error_even_with_a_fallback(
    deepgram: LocalDeepgram, clips: list[Utterance], artefact: Path
) -> None:
    with pytest.raises(EvaluationError, match="HTTP 401"):
        deepgram.open(CannedReply.of({}, 401), model=artefact, fallback=True).transcribe(clips[:2])


def test_only_texts_of_the_service_are_cached(deepgram: LocalDeepgram, clips: list[Utterance], artefact: Path) -> None:
    digest = "d" * 64
    transcriber = deepgram.open(GOOD_REPLY, OUTAGE_REPLY, model=artefact, fallback=True, attempts=1)
    transcribe_cached(deepgram.lake, digest, transcriber, clips[:3])
    cached = read_hypotheses(deepgram.lake, digest, OPTIONS)
    assert [each.text for each in cached.values()] == ["Buenos días."]
    assert cached[clips[0].audio_sha256].words[1] == RecognisedWord("días.", 0.3, 0.5, 0.9)
    deepgram.server.set_replies(GOOD_REPLY)
    found = transcribe_cached(deepgram.lake, digest, transcriber, clips[:3])
    assert [each.fallback_engine for each in found] == [None] * 3
    assert deepgram.spent_usd == pytest.approx(0.03), "cached clips are not paid again"
    used = read_usage(deepgram.lake, digest, OPTIONS)
    answered_s = sum(each.duration_s for each in clips[:3])
    assert (used.audio_s, used.cost_usd) == pytest.approx((answered_s, 0.03)), (
        "the fallback and the refused are not paid"
    )


def test_a_service_that_is_not_configured_is_off(lake: Lake) -> None:
    for access in (None, HostedAccess(HostedSettings(), lake)):
        with pytest.raises(EvaluationError, match="deepgram is off, so no audio is sent"):
            open_transcriber(OPTIONS, None, hosted=access)


def test_a_fallback_without_a_model_is_an_error(deepgram: LocalDeepgram) -> None:
    with pytest.raises(EvaluationError, match="there is no local model"):
        deepgram.open(fallback=True)


def test_a_client_that_is_not_installed_names_its_extra(
    deepgram: LocalDeepgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deepgram", None)
    with pytest.raises(EvaluationError, match=r"habla-ml\[hosted-deepgram\]"):
        deepgram.open()
