"""Azure Speech, fast transcription: `POST /speechtotext/transcriptions:transcribe` through azure-ai-transcription.

This is Microsoft's client for files: one HTTP call returns text and word times and costs a third of streaming. The Speech
SDK (azure-cognitiveservices-speech) is native code for microphones and streams with its own socket protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from habla_ml.settings.hosted import AzureSettings
from habla_ml.transcription.hosted.service import (
    HttpStatus,
    RawWord,
    SpeechService,
    import_client_library,
    read_secret,
)
from habla_ml.transcription.options import HostedOptions

if TYPE_CHECKING:
    from azure.ai.transcription import TranscriptionClient


class Azure(SpeechService):
    """The profanity filter is off."""

    name = "azure"

    def __init__(self, options: HostedOptions, settings: AzureSettings) -> None:
        sdk = import_client_library("azure.ai.transcription", "hosted-azure")
        from azure.core import exceptions
        from azure.core.credentials import AzureKeyCredential

        key = read_secret(settings.key_variable, "a key of the Azure Speech resource")
        self._client: TranscriptionClient = sdk.TranscriptionClient(
            endpoint=settings.endpoint or f"https://{settings.region}.api.cognitive.microsoft.com",
            credential=AzureKeyCredential(key),
            retry_total=0,
            permit_redirects=False,
            logging_enable=False,
        )
        self._options = options
        self.errors = {
            exceptions.IncompleteReadError: "disconnected",
            exceptions.HttpResponseError: _read_status,
            exceptions.ServiceRequestError: "unreachable",
            exceptions.ServiceResponseTimeoutError: "timeout",
            exceptions.AzureError: "disconnected",
        }

    def _request(self, flac: bytes, timeout_s: float) -> tuple[Iterable[object], Iterable[RawWord]]:
        from azure.ai.transcription.models import TranscriptionContent, TranscriptionOptions

        language, model = self._options.language, self._options.model
        definition = TranscriptionOptions(
            locales=[language], profanity_filter_mode="None", models={language: model} if model else None
        )
        content = TranscriptionContent(definition=definition, audio=("clip.flac", flac, "audio/flac"))
        answer: Any = self._client.transcribe(content, connection_timeout=timeout_s, read_timeout=timeout_s)
        return [each.text for each in answer.combined_phrases], _iterate_words(answer)

    def close(self) -> None:
        """See `SpeechService.close`."""
        self._client.close()


def _read_status(error: Any) -> HttpStatus:
    return error.status_code, getattr(error.response, "headers", None), getattr(error.error, "code", None)


def _iterate_words(answer: Any) -> Iterator[RawWord]:
    for phrase in answer.phrases:
        for word in phrase.words or ():
            start_s = word.offset_milliseconds / 1000
            yield word.text, start_s, start_s + word.duration_milliseconds / 1000, None
