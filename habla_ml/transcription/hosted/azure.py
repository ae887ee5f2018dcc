"""Azure Speech, fast transcription: `POST /speechtotext/transcriptions:transcribe` through azure-ai-transcription.

This is Microsoft's client for files: one HTTP call returns text and word times and costs a third of streaming. The Speech
SDK (azure-cognitiveservices-speech) is native code for microphones and streams with its own socket protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from habla_ml.settings.hosted import AzureSettings
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
    from azure.ai.transcription import TranscriptionClient

_NAME: Final = "azure"


class Azure:
    """See `SpeechService`."""

    def __init__(self, options: HostedOptions, settings: AzureSettings) -> None:
        sdk = import_client_library("azure.ai.transcription", "hosted-azure")
        from azure.core.credentials import AzureKeyCredential

        self._client: TranscriptionClient = sdk.TranscriptionClient(
            endpoint=settings.endpoint or f"https://{settings.region}.api.cognitive.microsoft.com",
            credential=AzureKeyCredential(read_secret(settings.key_variable, "a key of the Azure Speech resource")),
            retry_total=0,
            permit_redirects=False,
            logging_enable=False,
        )
        self._options = options

    def recognise(self, recording: EncodedClip, timeout_s: float) -> tuple[str, tuple[RecognisedWord, ...]]:
        """See `SpeechService.recognise`; the profanity filter is off."""
        from azure.ai.transcription.models import TranscriptionContent, TranscriptionOptions
        from azure.core.exceptions import (
            AzureError,
            HttpResponseError,
            IncompleteReadError,
            ServiceRequestError,
            ServiceResponseTimeoutError,
        )

        language, model = self._options.language, self._options.model
        definition = TranscriptionOptions(
            locales=[language], profanity_filter_mode="None", models={language: model} if model else None
        )
        content = TranscriptionContent(definition=definition, audio=("clip.flac", recording.flac, "audio/flac"))
        try:
            answer = self._client.transcribe(content, connection_timeout=timeout_s, read_timeout=timeout_s)
            return _parse_answer(answer, recording.duration_s)
        except CallError:
            raise
        except IncompleteReadError:
            raise CallError.disconnected(_NAME) from None
        except HttpResponseError as error:
            raise _make_call_error(error) from None
        except ServiceRequestError:
            raise CallError.unreachable(_NAME) from None
        except ServiceResponseTimeoutError:
            raise CallError.timeout(_NAME, timeout_s) from None
        except AzureError:
            raise CallError.disconnected(_NAME) from None
        except (ValueError, TypeError, LookupError, AttributeError):
            raise CallError.malformed(_NAME) from None

    def close(self) -> None:
        """See `SpeechService.close`."""
        self._client.close()


def _make_call_error(error: Any) -> CallError:
    headers = {} if error.response is None else error.response.headers
    return CallError.from_status(
        _NAME, error.status_code, headers.get("Retry-After"), getattr(error.error, "code", None)
    )


def _parse_answer(answer: Any, duration_s: float) -> tuple[str, tuple[RecognisedWord, ...]]:
    # The client validates fields of the answer only on access.
    text = " ".join(clean_text(_NAME, each.text) for each in answer.combined_phrases)
    return clean_text(_NAME, text), clean_words(_NAME, _iterate_words(answer), duration_s)


def _iterate_words(answer: Any) -> Iterator[tuple[object, object, object, object]]:
    for phrase in answer.phrases:
        for word in phrase.words or ():
            start_s = word.offset_milliseconds / 1000
            yield word.text, start_s, start_s + word.duration_milliseconds / 1000, None
