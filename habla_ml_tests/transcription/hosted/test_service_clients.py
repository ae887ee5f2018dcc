"""Google, Azure and Deepgram through their client libraries against a local server."""

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
    build_azure_response,
    build_deepgram_response,
    build_google_response,
)

TONE = (0.2 * np.sin(np.arange(32_000) / 20)).astype(np.float32)
CLIP = EncodedClip(encode_flac(TONE), 2.0)
WORDS = [("¿Vais", 0.2, 0.5), ("a", 0.5, 0.6), ("la", 0.6, 0.7), ("plaza?", 0.7, 1.4)]
TEXT = "¿Vais a la plaza?"


@dataclass(frozen=True)
class ServiceCase:
    """A service whose client talks to the local server."""

    name: str
    service: SpeechService
    answer: Callable[..., dict[str, Any]]
    has_confidence: bool
    error: Callable[[str], dict[str, Any]]
    """A documented error body that repeats its argument."""
    code: str


def open_service_case(name: str, url: str, model: str | None = None) -> ServiceCase:
    cap: dict[str, Any] = {"endpoint": url, "monthly_cap_usd": 1.0}
    match name:
        case "deepgram":
            options = HostedOptions(engine="deepgram", model=model)
            deepgram = Deepgram(options, DeepgramSettings(**cap))
            return ServiceCase(
                name,
                deepgram,
                build_deepgram_response,
                True,
                lambda message: {"err_code": "INVALID_AUTH", "err_msg": message, "request_id": "1"},
                "INVALID_AUTH",
            )
        case "azure":
            azure = Azure(HostedOptions(engine="azure", model=model), AzureSettings(**cap))
            return ServiceCase(
                name,
                azure,
                build_azure_response,
                False,
                lambda message: {"error": {"code": "Unauthorized", "message": message}},
                "Unauthorized",
            )
    google = Google(HostedOptions(engine="google", model=model), GoogleSettings(**cap))
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "g"}
    return ServiceCase(
        name,
        google,
        build_google_response,
        True,
        lambda message: {"error": {"code": 401, "message": message, "status": "UNAUTHENTICATED", "details": [info]}},
        "API_KEY_INVALID",
    )


@pytest.fixture(params=["deepgram", "azure", "google"])
def service_case(
    request: pytest.FixtureRequest, fake_service: FakeTranscriptionService, credentials: str
) -> Iterator[ServiceCase]:
    opened = open_service_case(request.param, fake_service.url)
    yield opened
    opened.service.close()


def catch_call_error(service_case: ServiceCase, timeout_s: float = 5.0) -> CallError:
    with pytest.raises(CallError) as caught:
        service_case.service.recognise(CLIP, timeout_s)
    return caught.value


def test_a_documented_answer_gives_text_and_words(
    service_case: ServiceCase, fake_service: FakeTranscriptionService
) -> None:
    fake_service.set_replies(CannedReply.of(service_case.answer(TEXT, WORDS)))
    text, words = service_case.service.recognise(CLIP, 5.0)
    confidence = pytest.approx(0.9) if service_case.has_confidence else None
    assert text == TEXT
    assert [(each.text, each.confidence) for each in words] == [(word, confidence) for word, _, _ in WORDS]
    times = [time for each in words for time in (each.start_s, each.end_s)]
    assert times == pytest.approx([time for _, start, end in WORDS for time in (start, end)])
    assert len(fake_service.received) == 1


def split_request(received: ReceivedRequest) -> tuple[bytes, str]:
    """Return the audio of a request, and the rest of its body."""
    if received.path.startswith("/v2/"):
        import base64

        body = json.loads(received.body)
        return base64.b64decode(body.pop("content")), json.dumps(body)
    if "multipart" in received.headers["content-type"]:
        start = received.body.index(b"fLaC")
        end = received.body.index(b"\r\n--", start + len(CLIP.flac) - 10)
        return received.body[start:end], (received.body[:start] + received.body[end:]).decode()
    return received.body, ""


def test_a_request_contains_the_clip_the_language_and_the_key(
    service_case: ServiceCase, fake_service: FakeTranscriptionService
) -> None:
    fake_service.set_replies(CannedReply.of(service_case.answer(TEXT, WORDS)))
    service_case.service.recognise(CLIP, 5.0)
    (received,) = fake_service.received
    flac, rest = split_request(received)
    samples, rate_hz = soundfile.read(io.BytesIO(flac), dtype="float32")
    assert rate_hz == 16_000
    assert np.abs(samples - TONE).max() < 1 / 32_768
    match service_case.name:
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


def test_a_request_contains_the_model_of_the_options(fake_service: FakeTranscriptionService, credentials: str) -> None:
    for name, model, shown in (
        ("deepgram", "nova-2", "model=nova-2"),
        ("google", "chirp_3", '"model": "chirp_3"'),
        ("azure", "https://westeurope.api.cognitive.microsoft.com/models/1", '"models": {"es-ES": "https://west'),
    ):
        service_case = open_service_case(name, fake_service.url, model)
        fake_service.set_replies(CannedReply.of(service_case.answer(TEXT, WORDS)))
        service_case.service.recognise(CLIP, 5.0)
        assert shown in fake_service.received[-1].path + split_request(fake_service.received[-1])[1], name
        service_case.service.close()


def test_silence_is_an_empty_text_and_no_error(
    service_case: ServiceCase, fake_service: FakeTranscriptionService
) -> None:
    fake_service.set_replies(CannedReply.of(service_case.answer("", [])))
    assert service_case.service.recognise(CLIP, 5.0) == ("", ())


@pytest.mark.parametrize(
    ("status", "kind"), [(429, "busy"), (500, "busy"), (503, "busy"), (400, "clip"), (404, "setup")]
)
def test_a_status_gives_the_kind_of_error_and_the_client_does_not_retry(
    service_case: ServiceCase, fake_service: FakeTranscriptionService, status: int, kind: str
) -> None:
    fake_service.set_replies(CannedReply.of(service_case.error("no"), status, Retry_After="7"))
    fault = catch_call_error(service_case)
    assert (fault.kind, fault.may_be_billed) == (kind, False)
    assert fault.retry_after_s == (7 if kind == "busy" else None)
    assert f"{service_case.name} answers HTTP {status}" in fault.reason
    assert len(fake_service.received) == 1


def test_a_refused_key_gives_the_code_and_never_the_key(
    service_case: ServiceCase,
    fake_service: FakeTranscriptionService,
    credentials: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake_service.set_replies(
        CannedReply.of(service_case.error(f"the key {credentials} of Lucía García is invalid"), 401)
    )
    fault = catch_call_error(service_case)
    assert fault.kind == "setup"
    assert service_case.code in fault.reason
    shown = "".join(traceback.format_exception(fault)) + caplog.text
    assert credentials not in shown
    assert "Lucía" not in shown


def test_text_in_place_of_a_code_is_not_repeated(fake_service: FakeTranscriptionService, credentials: str) -> None:
    service_case = open_service_case("deepgram", fake_service.url)
    fake_service.set_replies(CannedReply.of({"err_code": f"key {credentials}", "err_msg": ""}, 401))
    assert credentials not in catch_call_error(service_case).reason
    service_case.service.close()


def test_no_answer_in_time_ends_and_may_be_billed(
    service_case: ServiceCase, fake_service: FakeTranscriptionService
) -> None:
    fake_service.set_replies(CannedReply(delay_s=3.0))
    began_s = time.monotonic()
    fault = catch_call_error(service_case, timeout_s=0.5)
    assert time.monotonic() - began_s < 2.0
    assert (fault.kind, fault.may_be_billed) == ("busy", True)
    assert "did not answer within 0.5 s" in fault.reason


def test_a_connection_that_breaks_may_be_billed(
    service_case: ServiceCase, fake_service: FakeTranscriptionService
) -> None:
    body = json.dumps(service_case.answer(TEXT, WORDS)).encode()
    fake_service.set_replies(CannedReply(200, body[:40], {"Content-Type": "application/json"}, is_truncated=True))
    fault = catch_call_error(service_case)
    assert (fault.kind, fault.may_be_billed) == ("busy", True)


def test_an_unreachable_server_bills_nothing(service_case: ServiceCase, fake_service: FakeTranscriptionService) -> None:
    fake_service.close()
    fault = catch_call_error(service_case)
    assert (fault.kind, fault.may_be_billed) == ("busy", False)


@pytest.mark.parametrize(
    "body", [b"", b"<html>a proxy</html>", b'{"results": ', b"null", b"7", b'{"results": 3, "phrases": 3}']
)
def test_an_undocumented_body_is_malformed_and_not_silence(
    service_case: ServiceCase, fake_service: FakeTranscriptionService, body: bytes
) -> None:
    fake_service.set_replies(CannedReply(200, body, {"Content-Type": "application/json"}))
    fault = catch_call_error(service_case)
    assert (fault.kind, fault.may_be_billed) == ("malformed", True)


def test_text_is_bounded_and_has_no_control_characters(
    service_case: ServiceCase, fake_service: FakeTranscriptionService
) -> None:
    hostile = "hola\x1b[31m \u202ejose\u0000 \ud800 <script>"
    fake_service.set_replies(CannedReply.of(service_case.answer(hostile, [(hostile, -3.0, 99.0)])))
    if service_case.name == "google":  # protocol buffers refuse an unpaired surrogate
        assert catch_call_error(service_case).kind == "malformed"
        return
    text, words = service_case.service.recognise(CLIP, 5.0)
    assert text == "hola [31m jose <script>"
    assert words == (RecognisedWord("hola [31m jose <script>", 0.0, 2.0, words[0].confidence),)
    text.encode()
    fake_service.set_replies(CannedReply.of(service_case.answer("a" * 10_001, [])))
    assert catch_call_error(service_case).kind == "malformed"


def test_times_that_are_not_numbers_are_malformed(fake_service: FakeTranscriptionService, credentials: str) -> None:
    deepgram, azure = open_service_case("deepgram", fake_service.url), open_service_case("azure", fake_service.url)
    for service_case, word in (
        (deepgram, {"start": "NaN"}),
        (deepgram, {"end": [1]}),
        (azure, {"offsetMilliseconds": "x"}),
    ):
        fake_service.set_replies(CannedReply.of(service_case.answer(TEXT, WORDS, **word)))
        assert catch_call_error(service_case).kind == "malformed", word
    for service_case in (deepgram, azure):
        service_case.service.close()


def test_retry_after_is_seconds_or_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert parse_retry_after(date) == pytest.approx(90, abs=2)
    assert [parse_retry_after(each) for each in ("12", "1.5", "-4", "Wed, 21 Oct 2015 07:28:00 GMT")] == [
        12,
        1.5,
        0,
        0,
    ]
    assert [parse_retry_after(each) for each in (None, "", "soon", "inf", "nan", "9" * 400)] == [None] * 6


def test_a_redirect_is_not_followed_with_the_key(fake_service: FakeTranscriptionService, credentials: str) -> None:
    for name in ("deepgram", "azure"):
        service_case = open_service_case(name, fake_service.url)
        fake_service.set_replies(CannedReply(307, b"", {"Location": f"{fake_service.url}/elsewhere"}))
        catch_call_error(service_case)
        assert not any("elsewhere" in each.path for each in fake_service.received)
        service_case.service.close()


def test_a_missing_key_is_an_error_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, fake_service: FakeTranscriptionService, credentials: str
) -> None:
    for name, variable in (
        ("deepgram", "DEEPGRAM_API_KEY"),
        ("azure", "AZURE_SPEECH_KEY"),
        ("google", "GOOGLE_APPLICATION_CREDENTIALS"),
    ):
        monkeypatch.delenv(variable)
        with pytest.raises(EvaluationError, match=variable):
            open_service_case(name, fake_service.url)


def test_an_invalid_service_account_file_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
    fake_service: FakeTranscriptionService,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("bad") / "account.json"
    for content in ("", "[]", '{"type": "service_account"}', '{"private_key": "secret"}'):
        path.write_text(content)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        with pytest.raises(EvaluationError, match="not a readable service account file"):
            open_service_case("google", fake_service.url)
