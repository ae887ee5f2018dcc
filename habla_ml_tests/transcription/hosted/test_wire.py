"""Google, Azure and Deepgram through their own client libraries against a local server, one call at a time."""

from __future__ import annotations

import io
import json
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import pytest
import soundfile

from habla_ml.audio import encode_flac
from habla_ml.errors import EvaluationError
from habla_ml.settings.hosted import AzureSettings, DeepgramSettings, GoogleSettings
from habla_ml.transcription.engine import HeardWord
from habla_ml.transcription.hosted.azure import Azure
from habla_ml.transcription.hosted.deepgram import Deepgram
from habla_ml.transcription.hosted.google import Google
from habla_ml.transcription.hosted.service import CallError, Recording, Service, seconds_of
from habla_ml.transcription.options import HostedOptions
from habla_ml_tests.transcription.hosted.served import (
    Received,
    Reply,
    ServedService,
    azure_answer,
    deepgram_answer,
    google_answer,
)

TONE = (0.2 * np.sin(np.arange(32_000) / 20)).astype(np.float32)
CLIP = Recording(encode_flac(TONE), 2.0)
WORDS = [("¿Vais", 0.2, 0.5), ("a", 0.5, 0.6), ("la", 0.6, 0.7), ("plaza?", 0.7, 1.4)]
TEXT = "¿Vais a la plaza?"


@dataclass(frozen=True)
class Wire:
    """A service whose client talks to the local server."""

    name: str
    service: Service
    answer: Callable[..., dict[str, Any]]
    knows_confidence: bool
    error: Callable[[str], dict[str, Any]]
    """A documented error body that repeats its argument."""
    code: str


def open_wire(name: str, url: str, model: str | None = None) -> Wire:
    cap: dict[str, Any] = {"endpoint": url, "monthly_cap_usd": 1.0}
    match name:
        case "deepgram":
            options = HostedOptions(engine="deepgram", model=model)
            deepgram = Deepgram(options, DeepgramSettings(**cap))
            return Wire(
                name,
                deepgram,
                deepgram_answer,
                True,
                lambda said: {"err_code": "INVALID_AUTH", "err_msg": said, "request_id": "1"},
                "INVALID_AUTH",
            )
        case "azure":
            azure = Azure(HostedOptions(engine="azure", model=model), AzureSettings(**cap))
            return Wire(
                name,
                azure,
                azure_answer,
                False,
                lambda said: {"error": {"code": "Unauthorized", "message": said}},
                "Unauthorized",
            )
    google = Google(HostedOptions(engine="google", model=model), GoogleSettings(**cap))
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "g"}
    return Wire(
        name,
        google,
        google_answer,
        True,
        lambda said: {"error": {"code": 401, "message": said, "status": "UNAUTHENTICATED", "details": [info]}},
        "API_KEY_INVALID",
    )


@pytest.fixture(params=["deepgram", "azure", "google"])
def wire(request: pytest.FixtureRequest, served: ServedService, credentials: str) -> Iterator[Wire]:
    opened = open_wire(request.param, served.url)
    yield opened
    opened.service.close()


def fault_of(wire: Wire, timeout_s: float = 5.0) -> CallError:
    with pytest.raises(CallError) as caught:
        wire.service.hear(CLIP, timeout_s)
    return caught.value


def test_a_documented_answer_becomes_text_and_words(wire: Wire, served: ServedService) -> None:
    served.answer(Reply.of(wire.answer(TEXT, WORDS)))
    text, words = wire.service.hear(CLIP, 5.0)
    sure = pytest.approx(0.9) if wire.knows_confidence else None
    assert text == TEXT
    assert [(each.text, each.confidence) for each in words] == [(word, sure) for word, _, _ in WORDS]
    times = [time for each in words for time in (each.start_s, each.end_s)]
    assert times == pytest.approx([time for _, start, end in WORDS for time in (start, end)])
    assert len(served.received) == 1


def sent(received: Received) -> tuple[bytes, str]:
    """The audio of a request, and everything else of it."""
    if received.path.startswith("/v2/"):
        import base64

        body = json.loads(received.body)
        return base64.b64decode(body.pop("content")), json.dumps(body)
    if "multipart" in received.headers["content-type"]:
        start = received.body.index(b"fLaC")
        end = received.body.index(b"\r\n--", start + len(CLIP.flac) - 10)
        return received.body[start:end], (received.body[:start] + received.body[end:]).decode()
    return received.body, ""


def test_what_is_sent_is_the_clip_with_its_language(wire: Wire, served: ServedService) -> None:
    served.answer(Reply.of(wire.answer(TEXT, WORDS)))
    wire.service.hear(CLIP, 5.0)
    (received,) = served.received
    flac, rest = sent(received)
    samples, rate_hz = soundfile.read(io.BytesIO(flac), dtype="float32")
    assert rate_hz == 16_000
    assert np.abs(samples - TONE).max() < 1 / 32_768
    match wire.name:
        case "deepgram":
            assert received.path.startswith("/v1/listen?")
            for asked in ("model=nova-3", "language=es&", "mip_opt_out=true"):
                assert asked in received.path.replace(" ", "") + "&"
            assert received.headers["authorization"] == "Token secret-key-0123456789"
        case "azure":
            assert received.path.startswith("/speechtotext/transcriptions:transcribe?api-version=2025-10-15")
            assert '"locales": ["es-ES"]' in rest
            assert '"profanityFilterMode": "None"' in rest
            assert received.headers["ocp-apim-subscription-key"] == "secret-key-0123456789"
        case "google":
            assert received.path.startswith("/v2/projects/a-school/locations/eu/recognizers/_:recognize")
            config = json.loads(rest)["config"]
            assert (config["languageCodes"], config["model"]) == (["es-ES"], "long")
            assert config["features"]["enableWordTimeOffsets"]
            assert received.headers["authorization"].startswith("Bearer ey")


def test_the_model_of_the_options_is_asked_for(served: ServedService, credentials: str) -> None:
    for name, model, shown in (
        ("deepgram", "nova-2", "model=nova-2"),
        ("google", "chirp_3", '"model": "chirp_3"'),
        ("azure", "https://westeurope.api.cognitive.microsoft.com/models/1", '"models": {"es-ES": "https://west'),
    ):
        wire = open_wire(name, served.url, model)
        served.answer(Reply.of(wire.answer(TEXT, WORDS)))
        wire.service.hear(CLIP, 5.0)
        assert shown in served.received[-1].path + sent(served.received[-1])[1], name
        wire.service.close()


def test_silence_is_an_empty_text_and_no_fault(wire: Wire, served: ServedService) -> None:
    served.answer(Reply.of(wire.answer("", [])))
    assert wire.service.hear(CLIP, 5.0) == ("", ())


@pytest.mark.parametrize(
    ("status", "kind"), [(429, "busy"), (500, "busy"), (503, "busy"), (400, "clip"), (404, "setup")]
)
def test_a_status_says_what_to_do_and_the_client_does_not_repeat_by_itself(
    wire: Wire, served: ServedService, status: int, kind: str
) -> None:
    served.answer(Reply.of(wire.error("no"), status, Retry_After="7"))
    fault = fault_of(wire)
    assert (fault.kind, fault.may_be_billed) == (kind, False)
    assert fault.retry_after_s == (7 if kind == "busy" else None)
    assert f"{wire.name} answers HTTP {status}" in fault.reason
    assert len(served.received) == 1


def test_a_refused_key_is_named_by_its_code_and_never_leaks(
    wire: Wire, served: ServedService, credentials: str, caplog: pytest.LogCaptureFixture
) -> None:
    served.answer(Reply.of(wire.error(f"the key {credentials} of Lucía García is invalid"), 401))
    fault = fault_of(wire)
    assert fault.kind == "setup"
    assert wire.code in fault.reason
    shown = "".join(traceback.format_exception(fault)) + caplog.text
    assert credentials not in shown
    assert "Lucía" not in shown


def test_a_code_that_is_no_code_is_not_repeated(served: ServedService, credentials: str) -> None:
    wire = open_wire("deepgram", served.url)
    served.answer(Reply.of({"err_code": f"key {credentials}", "err_msg": ""}, 401))
    assert credentials not in fault_of(wire).reason
    wire.service.close()


def test_no_answer_in_time_ends_and_may_be_billed(wire: Wire, served: ServedService) -> None:
    served.answer(Reply(delay_s=3.0))
    began_s = time.monotonic()
    fault = fault_of(wire, timeout_s=0.5)
    assert time.monotonic() - began_s < 2.0
    assert (fault.kind, fault.may_be_billed) == ("busy", True)
    assert "no answer in 0.5 s" in fault.reason


def test_a_connection_that_breaks_may_be_billed(wire: Wire, served: ServedService) -> None:
    body = json.dumps(wire.answer(TEXT, WORDS)).encode()
    served.answer(Reply(200, body[:40], {"Content-Type": "application/json"}, cut=True))
    fault = fault_of(wire)
    assert (fault.kind, fault.may_be_billed) == ("busy", True)


def test_a_server_that_is_not_there_bills_nothing(wire: Wire, served: ServedService) -> None:
    served.close()
    fault = fault_of(wire)
    assert (fault.kind, fault.may_be_billed) == ("busy", False)


@pytest.mark.parametrize(
    "body", [b"", b"<html>a proxy</html>", b'{"results": ', b"null", b"7", b'{"results": 3, "phrases": 3}']
)
def test_a_body_in_no_documented_form_is_a_fault_and_not_silence(
    wire: Wire, served: ServedService, body: bytes
) -> None:
    served.answer(Reply(200, body, {"Content-Type": "application/json"}))
    fault = fault_of(wire)
    assert (fault.kind, fault.may_be_billed) == ("nonsense", True)


def test_hostile_text_is_bounded_and_holds_no_control_characters(wire: Wire, served: ServedService) -> None:
    said = "hola\x1b[31m \u202ejose\u0000 \ud800 <script>"
    served.answer(Reply.of(wire.answer(said, [(said, -3.0, 99.0)])))
    if wire.name == "google":  # half a character is no JSON of protocol buffers
        assert fault_of(wire).kind == "nonsense"
        return
    text, words = wire.service.hear(CLIP, 5.0)
    assert text == "hola [31m jose <script>"
    assert words == (HeardWord("hola [31m jose <script>", 0.0, 2.0, words[0].confidence),)
    text.encode()
    served.answer(Reply.of(wire.answer("a" * 10_001, [])))
    assert fault_of(wire).kind == "nonsense"


def test_times_that_are_no_numbers_are_a_fault(served: ServedService, credentials: str) -> None:
    deepgram, azure = open_wire("deepgram", served.url), open_wire("azure", served.url)
    for wire, word in (
        (deepgram, {"start": "NaN"}),
        (deepgram, {"end": [1]}),
        (azure, {"offsetMilliseconds": "x"}),
    ):
        served.answer(Reply.of(wire.answer(TEXT, WORDS, **word)))
        assert fault_of(wire).kind == "nonsense", word
    for wire in (deepgram, azure):
        wire.service.close()


def test_a_time_to_come_back_is_seconds_or_a_date_and_nothing_else() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert seconds_of(date) == pytest.approx(90, abs=2)
    assert [seconds_of(each) for each in ("12", "1.5", "-4", "Wed, 21 Oct 2015 07:28:00 GMT")] == [12, 1.5, 0, 0]
    assert [seconds_of(each) for each in (None, "", "soon", "inf", "nan", "9" * 400)] == [None] * 6


def test_a_redirect_is_not_followed_with_the_key(served: ServedService, credentials: str) -> None:
    for name in ("deepgram", "azure"):
        wire = open_wire(name, served.url)
        served.answer(Reply(307, b"", {"Location": f"{served.url}/elsewhere"}))
        fault_of(wire)
        assert not any("elsewhere" in each.path for each in served.received)
        wire.service.close()


def test_a_missing_key_is_an_error_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, served: ServedService, credentials: str
) -> None:
    for name, variable in (
        ("deepgram", "DEEPGRAM_API_KEY"),
        ("azure", "AZURE_SPEECH_KEY"),
        ("google", "GOOGLE_APPLICATION_CREDENTIALS"),
    ):
        monkeypatch.delenv(variable)
        with pytest.raises(EvaluationError, match=variable):
            open_wire(name, served.url)


def test_a_service_account_file_that_is_none_is_an_error(
    monkeypatch: pytest.MonkeyPatch, served: ServedService, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("bad") / "account.json"
    for content in ("", "[]", '{"type": "service_account"}', '{"private_key": "secret"}'):
        path.write_text(content)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        with pytest.raises(EvaluationError, match="no readable service account file"):
            open_wire("google", served.url)
