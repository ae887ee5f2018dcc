"""Google Speech-to-Text v2: `recognize` over REST through google-cloud-speech.

Version 2, because only it keeps audio in the European Union and needs no recogniser to be created first. REST, because one
short clip is one call, and because gRPC's threads are not safe after a fork.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from habla_ml.errors import EvaluationError
from habla_ml.settings.hosted import GoogleSettings
from habla_ml.transcription.engine import RecognisedWord
from habla_ml.transcription.hosted.service import (
    CallError,
    EncodedClip,
    clean_text,
    clean_words,
    import_client_library,
    read_secret,
)
from habla_ml.transcription.options import HostedOptions

if TYPE_CHECKING:
    from google.cloud.speech_v2 import SpeechClient
    from google.oauth2.service_account import Credentials

_NAME: Final = "google"
_MODEL: Final = "long"
"""For speech with pauses; `short` stops at the first pause."""


class Google:
    """See `SpeechService`."""

    def __init__(self, options: HostedOptions, settings: GoogleSettings) -> None:
        sdk = import_client_library("google.cloud.speech_v2", "hosted-google")
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

    def recognise(self, recording: EncodedClip, timeout_s: float) -> tuple[str, tuple[RecognisedWord, ...]]:
        """See `SpeechService.recognise`."""
        import requests
        from google.api_core.exceptions import GoogleAPICallError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.speech_v2 import RecognizeRequest
        from google.protobuf.json_format import Error as FormatError  # type: ignore[import-untyped]

        request = RecognizeRequest(recognizer=self._recogniser, config=self._config, content=recording.flac)
        try:
            answer = self._client.recognize(request=request, retry=None, timeout=timeout_s)
            return _parse_answer(answer, recording.duration_s)
        except GoogleAPICallError as error:
            raise _make_call_error(error) from None
        except GoogleAuthError:
            raise CallError(f"{_NAME} does not accept the service account; create a new key", "setup") from None
        except requests.ConnectTimeout:
            raise CallError.unreachable(_NAME) from None
        except requests.Timeout:
            raise CallError.timeout(_NAME, timeout_s) from None
        except requests.ConnectionError as error:
            raise (CallError.unreachable if _is_unsent(error) else CallError.disconnected)(_NAME) from None
        except requests.JSONDecodeError:
            raise CallError.malformed(_NAME) from None
        except requests.RequestException:
            raise CallError.disconnected(_NAME) from None
        except (FormatError, ValueError, TypeError, LookupError, AttributeError):
            raise CallError.malformed(_NAME) from None

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


def _is_unsent(error: Exception) -> bool:
    from urllib3.exceptions import NewConnectionError

    return any(isinstance(getattr(each, "reason", None), NewConnectionError) for each in error.args)


def _make_call_error(error: Any) -> CallError:
    status = int(error.code) if error.code else 0
    headers = getattr(error.response, "headers", None) or {}
    return CallError.from_status(_NAME, status, headers.get("Retry-After"), getattr(error, "reason", None))


def _parse_answer(answer: Any, duration_s: float) -> tuple[str, tuple[RecognisedWord, ...]]:
    best = [each.alternatives[0] for each in answer.results if each.alternatives]
    text = " ".join(clean_text(_NAME, each.transcript) for each in best)
    return clean_text(_NAME, text), clean_words(_NAME, _iterate_words(best), duration_s)


def _iterate_words(best: list[Any]) -> Iterator[tuple[object, object, object, object]]:
    for alternative in best:
        for each in alternative.words:
            # A protocol buffer has 0 where the model gives no confidence.
            yield each.word, _to_seconds(each.start_offset), _to_seconds(each.end_offset), each.confidence or None


def _to_seconds(offset: Any) -> float:
    return 0.0 if offset is None else float(offset.total_seconds())
