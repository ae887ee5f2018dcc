"""Google, Azure and Deepgram through their client libraries against a local server."""

from __future__ import annotations

import base64
import io
import json
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from habla_ml.audio import encode_flac
from habla_ml.errors import EvaluationError
from habla_ml.settings.hosted import AzureSettings, DeepgramSettings, GoogleSettings
from habla_ml.transcription.engine import RecognisedWord
from habla_ml.transcription.hosted.azure import Azure
from habla_ml.transcription.hosted.deepgram import Deepgram
from habla_ml.transcription.hosted.google import Google
from habla_ml.transcription.hosted.service import CallError, EncodedClip, SpeechService, parse_retry_after
from habla_ml.transcription.options import HostedOptions
from habla_ml_tests.testing.transcription_service import (
    CannedReply,
    FakeTranscriptionService,
    ReceivedRequest,
    TimedWord,
    build_azure_response,
    build_deepgram_response,
    build_google_response,
)

TONE = (0.2 * np.sin(np.arange(32_000) / 20)).astype(np.float32)
CLIP = EncodedClip(encode_flac(TONE), 2.0)
WORDS = [("¿Vais", 0.2, 0.5), ("a", 0.5, 0.6), ("la", 0.6, 0.7), ("plaza?", 0.7, 1.4)]
TEXT = "¿Vais a la plaza?"
GOOGLE_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"


def build_deepgram_error(message: str) -> dict[str, Any]:
    return {"err_code": "INVALID_AUTH", "err_msg": message, "request_id": "1"}


def build_azure_error(message: str) -> dict[str, Any]:
    return {"error": {"code": "Unauthorized", "message": message}}


def build_google_error(message: str) -> dict[str, Any]:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "g"}
    return {"error": {"code": 401, "message": message, "status": "UNAUTHENTICATED", "details": [info]}}


@dataclass(frozen=True)
class ServiceCase:
    """A service with answers in its documented format."""

    client: type[Deepgram | Azure | Google]
    settings: type[DeepgramSettings | AzureSettings | GoogleSettings]
    answer: Callable[..., dict[str, Any]]
    confidence: float | None
    error: Callable[[str], dict[str, Any]]
    """A documented error body that repeats its argument."""
    code: str
    variable: str


CASES = {
    "deepgram": ServiceCase(
        Deepgram,
        DeepgramSettings,
        build_deepgram_response,
        0.9,
        build_deepgram_error,
        "INVALID_AUTH",
        "DEEPGRAM_API_KEY",
    ),
    "azure": ServiceCase(
        Azure, AzureSettings, build_azure_response, None, build_azure_error, "Unauthorized", "AZURE_SPEECH_KEY"
    ),
    "google": ServiceCase(
        Google, GoogleSettings, build_google_response, 0.9, build_google_error, "API_KEY_INVALID", GOOGLE_VARIABLE
    ),
}


class OpenedClient:
    """A client that talks to the local server."""

    def __init__(self, name: str, server: FakeTranscriptionService, model: str | None = None) -> None:
        self.name, self.server, self.case = name, server, CASES[name]
        settings: Any = self.case.settings(endpoint=server.url, monthly_cap_usd=1.0)
        self.service: SpeechService = self.case.client(HostedOptions(engine=name, model=model), settings)

    def recognise(self, text: str = TEXT, words: list[TimedWord] = WORDS) -> tuple[str, tuple[RecognisedWord, ...]]:
        """Return what the client reads from a documented answer."""
        self.server.set_replies(CannedReply.of(self.case.answer(text, words)))
        return self.service.recognise(CLIP, 5.0)

    def catch(self, *replies: CannedReply, timeout_s: float = 5.0) -> CallError:
        self.server.set_replies(*replies)
        with pytest.raises(CallError) as caught:
            self.service.recognise(CLIP, timeout_s)
        return caught.value


Open = Callable[..., OpenedClient]


@pytest.fixture
def open_client(fake_service: FakeTranscriptionService, credentials: str) -> Iterator[Open]:
    """Opens clients and closes them after the test."""
    with ExitStack() as opened:

        def open_client(name: str, model: str | None = None) -> OpenedClient:
            client = OpenedClient(name, fake_service, model)
            opened.callback(client.service.close)
            return client

        yield open_client


@pytest.fixture(params=list(CASES))
def client(request: pytest.FixtureRequest, open_client: Open) -> OpenedClient:
    return open_client(request.param)


def test_a_documented_answer_gives_text_and_words(client: OpenedClient) -> None:
    text, words = client.recognise()
    assert text == TEXT
    confidence = client.case.confidence and pytest.approx(client.case.confidence)
    assert [(each.text, each.confidence) for each in words] == [(word, confidence) for word, _, _ in WORDS]
    times = [time for each in words for time in (each.start_s, each.end_s)]
    assert times == pytest.approx([time for _, start, end in WORDS for time in (start, end)])
    assert len(client.server.received) == 1


def split_request(received: ReceivedRequest) -> tuple[bytes, str]:
    """Return the audio of a request, and the rest of its body."""
    if received.path.startswith("/v2/"):
        body = json.loads(received.body)
        return base64.b64decode(body.pop("content")), json.dumps(body)
    if "multipart" in received.headers["content-type"]:
        start = received.body.index(b"fLaC")
        end = received.body.index(b"\r\n--", start + len(CLIP.flac) - 10)
        return received.body[start:end], (received.body[:start] + received.body[end:]).decode()
    return received.body, ""


def test_a_request_contains_the_clip_the_language_and_the_key(client: OpenedClient) -> None:
    client.recognise()
    (received,) = client.server.received
    flac, rest = split_request(received)
    samples, rate_hz = soundfile.read(io.BytesIO(flac), dtype="float32")
    assert rate_hz == 16_000
    assert np.abs(samples - TONE).max() < 1 / 32_768
    match client.name:
        case "deepgram":
            assert received.path.startswith("/v1/listen?")
            for parameter in ("model=nova-3", "language=es&", "mip_opt_out=true"):
                assert parameter in received.path.replace(" ", "") + "&"
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


@pytest.mark.parametrize(
    ("name", "model", "shown"),
    [
        ("deepgram", "nova-2", "model=nova-2"),
        ("google", "chirp_3", '"model": "chirp_3"'),
        ("azure", "https://westeurope.api.cognitive.microsoft.com/models/1", '"models": {"es-ES": "https://west'),
    ],
)
def test_a_request_contains_the_model_of_the_options(open_client: Open, name: str, model: str, shown: str) -> None:
    client = open_client(name, model)
    client.recognise()
    (received,) = client.server.received
    assert shown in received.path + split_request(received)[1]


def test_silence_is_an_empty_text_and_no_error(client: OpenedClient) -> None:
    assert client.recognise("", []) == ("", ())


@pytest.mark.parametrize(
    ("status", "kind"), [(429, "busy"), (500, "busy"), (503, "busy"), (400, "clip"), (404, "setup")]
)
def test_a_status_gives_the_kind_of_error_and_the_client_does_not_retry(
    client: OpenedClient, status: int, kind: str
) -> None:
    fault = client.catch(CannedReply.of(client.case.error("no"), status, Retry_After="7"))
    assert (fault.kind, fault.may_be_billed) == (kind, False)
    assert fault.retry_after_s == (7 if kind == "busy" else None)
    assert f"{client.name} answers HTTP {status}" in fault.reason
    assert len(client.server.received) == 1


def test_a_refused_key_gives_the_code_and_never_the_key(
    client: OpenedClient, credentials: str, caplog: pytest.LogCaptureFixture
) -> None:
    fault = client.catch(CannedReply.of(client.case.error(f"the key {credentials} of Lucía García is invalid"), 401))
    assert fault.kind == "setup"
    assert client.case.code in fault.reason
    shown = "".join(traceback.format_exception(fault)) + caplog.text
    assert credentials not in shown
    assert "Lucía" not in shown


def test_text_in_place_of_a_code_is_not_repeated(open_client: Open, credentials: str) -> None:
    fault = open_client("deepgram").catch(CannedReply.of({"err_code": f"key {credentials}", "err_msg": ""}, 401))
    assert credentials not in fault.reason


def test_no_answer_in_time_ends_and_may_be_billed(client: OpenedClient) -> None:
    began_s = time.monotonic()
    fault = client.catch(CannedReply(delay_s=3.0), timeout_s=0.5)
    assert time.monotonic() - began_s < 2.0
    assert (fault.kind, fault.may_be_billed) == ("busy", True)
    assert "did not answer within 0.5 s" in fault.reason


def test_a_connection_that_breaks_may_be_billed(client: OpenedClient) -> None:
    body = json.dumps(client.case.answer(TEXT, WORDS)).encode()
    fault = client.catch(CannedReply(200, body[:40], {"Content-Type": "application/json"}, is_truncated=True))
    assert (fault.kind, fault.may_be_billed) == ("busy", True)


def test_an_unreachable_server_bills_nothing(client: OpenedClient) -> None:
    client.server.close()
    fault = client.catch()
    assert (fault.kind, fault.may_be_billed) == ("busy", False)


@pytest.mark.parametrize(
    "body", [b"", b"<html>a proxy</html>", b'{"results": ', b"null", b"7", b'{"results": 3, "phrases": 3}']
)
def test_an_undocumented_body_is_malformed_and_not_silence(client: OpenedClient, body: bytes) -> None:
    fault = client.catch(CannedReply(200, body, {"Content-Type": "application/json"}))
    assert (fault.kind, fault.may_be_billed) == ("malformed", True)


def test_text_is_bounded_and_has_no_control_characters(client: OpenedClient) -> None:
    hostile = "hola\x1b[31m \u202ejose\u0000 \ud800 <script>"
    if client.name == "google":  # protocol buffers refuse an unpaired surrogate
        assert client.catch(CannedReply.of(client.case.answer(hostile, []))).kind == "malformed"
        return
    text, words = client.recognise(hostile, [(hostile, -3.0, 99.0)])
    assert text == "hola [31m jose <script>"
    assert words == (RecognisedWord("hola [31m jose <script>", 0.0, 2.0, words[0].confidence),)
    text.encode()
    assert client.catch(CannedReply.of(client.case.answer("a" * 10_001, []))).kind == "malformed"


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("deepgram", {"start": "NaN"}),
        ("deepgram", {"end": [1]}),
        ("deepgram", {"start": 10**400}),
        ("azure", {"offsetMilliseconds": "x"}),
    ],
)
def test_times_that_are_not_numbers_are_malformed(open_client: Open, name: str, word: dict[str, Any]) -> None:
    answer = CASES[name].answer(TEXT, WORDS, **word)
    assert open_client(name).catch(CannedReply.of(answer)).kind == "malformed"


def test_retry_after_is_seconds_or_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert parse_retry_after(date) == pytest.approx(90, abs=2)
    known = ("12", "1.5", "-4", "Wed, 21 Oct 2015 07:28:00 GMT")
    assert [parse_retry_after(each) for each in known] == [12, 1.5, 0, 0]
    assert [parse_retry_after(each) for each in (None, "", "soon", "inf", "nan", "9" * 400)] == [None] * 6


@pytest.mark.parametrize("name", ["deepgram", "azure"])
def test_a_redirect_is_not_followed_with_the_key(open_client: Open, name: str) -> None:
    client = open_client(name)
    client.catch(CannedReply(307, b"", {"Location": f"{client.server.url}/elsewhere"}))
    assert not any("elsewhere" in each.path for each in client.server.received)


@pytest.mark.parametrize("name", list(CASES))
def test_a_missing_key_is_an_error_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, open_client: Open, name: str
) -> None:
    monkeypatch.delenv(CASES[name].variable)
    with pytest.raises(EvaluationError, match=CASES[name].variable):
        open_client(name)


@pytest.mark.parametrize("content", ["", "[]", '{"type": "service_account"}', '{"private_key": "secret"}'])
def test_an_invalid_service_account_file_is_an_error(
    monkeypatch: pytest.MonkeyPatch, open_client: Open, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "account.json"
    path.write_text(content)
    monkeypatch.setenv(GOOGLE_VARIABLE, str(path))
    with pytest.raises(EvaluationError, match="not a readable service account file"):
        open_client("google")
