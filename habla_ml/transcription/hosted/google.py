"""Google Speech-to-Text v2: `recognize` over REST through google-cloud-speech.

Version 2, because only it keeps audio in the European Union and needs no recogniser to be created first. REST, because one
short clip is one call, and because gRPC's threads are not safe after a fork.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from habla_ml.errors import EvaluationError
from habla_ml.settings.hosted import GoogleSettings
from habla_ml.transcription.hosted.service import (
    CommonFault,
    HttpStatus,
    RawWord,
    SpeechService,
    import_client_library,
    read_secret,
)
from habla_ml.transcription.options import HostedOptions

if TYPE_CHECKING:
    from google.cloud.speech_v2 import SpeechClient
    from google.oauth2.service_account import Credentials

_MODEL: Final = "long"
"""For speech with pauses; `short` stops at the first pause."""


class Google(SpeechService):
    """See `SpeechService`."""

    name = "google"

    def __init__(self, options: HostedOptions, settings: GoogleSettings) -> None:
        sdk = import_client_library("google.cloud.speech_v2", "hosted-google")
        import requests
        from google.api_core.exceptions import GoogleAPICallError
        from google.auth.exceptions import GoogleAuthError
        from google.protobuf.json_format import Error as FormatError  # type: ignore[import-untyped]

        credentials = _load_credentials(settings.credentials_variable)
        host = "speech" if settings.region == "global" else f"{settings.region}-speech"
        self._client: SpeechClient = sdk.SpeechClient(
            credentials=credentials,
            transport="rest",
            client_options={"api_endpoint": settings.endpoint or f"{host}.googleapis.com"},
        )
        self._recogniser = f"projects/{credentials.project_id}/locations/{settings.region}/recognizers/_"
        self._config = sdk.RecognitionConfig(
            auto_decoding_config=sdk.AutoDetectDecodingConfig(),
            model=options.model or _MODEL,
            language_codes=[options.language],
            features=sdk.RecognitionFeatures(
                enable_word_time_offsets=True, enable_word_confidence=True, enable_automatic_punctuation=True
            ),
        )
        self.errors = {
            GoogleAPICallError: _read_status,
            GoogleAuthError: "unauthorised",
            requests.ConnectTimeout: "unreachable",
            requests.Timeout: "timeout",
            requests.ConnectionError: _distinguish_connection_errors,
            requests.JSONDecodeError: "malformed",
            requests.RequestException: "disconnected",
            FormatError: "malformed",
        }

    def _request(self, flac: bytes, timeout_s: float) -> tuple[Iterable[object], Iterable[RawWord]]:
        from google.cloud.speech_v2 import RecognizeRequest

        request = RecognizeRequest(recognizer=self._recogniser, config=self._config, content=flac)
        answer: Any = self._client.recognize(request=request, retry=None, timeout=timeout_s)
        best = [each.alternatives[0] for each in answer.results if each.alternatives]
        return [each.transcript for each in best], _iterate_words(best)

    def close(self) -> None:
        """See `SpeechService.close`."""
        self._client.transport.close()  # type: ignore[no-untyped-call]


def _load_credentials(variable: str) -> Credentials:
    from google.auth.exceptions import GoogleAuthError
    from google.oauth2.service_account import Credentials

    path = read_secret(variable, "the path of a service account's JSON file")
    try:
        found: Credentials = Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
            path, scopes=["https://www.googleapis.com/auth/cloud-platform"]
        )
    except (OSError, GoogleAuthError, ValueError, LookupError, AttributeError, TypeError):
        raise EvaluationError(
            f"{variable} names {path}, which is not a readable service account file; download a key as JSON"
        ) from None
    if not found.project_id:
        raise EvaluationError(f"{variable} names {path}, which has no project_id; download the key again")
    return found


def _distinguish_connection_errors(error: Any) -> CommonFault:
    from urllib3.exceptions import NewConnectionError

    is_unsent = any(isinstance(getattr(each, "reason", None), NewConnectionError) for each in error.args)
    return "unreachable" if is_unsent else "disconnected"


def _read_status(error: Any) -> HttpStatus:
    return int(error.code or 0), getattr(error.response, "headers", None), getattr(error, "reason", None)


def _iterate_words(best: list[Any]) -> Iterator[RawWord]:
    for alternative in best:
        for each in alternative.words:
            # A protocol buffer has 0 where the model gives no confidence.
            yield each.word, _to_seconds(each.start_offset), _to_seconds(each.end_offset), each.confidence or None


def _to_seconds(offset: Any) -> float:
    return 0.0 if offset is None else float(offset.total_seconds())
