"""Deepgram, recorded audio: `POST /v1/listen` through deepgram-sdk (developers.deepgram.com/reference)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from habla_ml.settings.hosted import DeepgramSettings
from habla_ml.transcription.hosted.service import (
    HttpStatus,
    RawWord,
    SpeechService,
    import_client_library,
    read_secret,
)
from habla_ml.transcription.options import HostedOptions

if TYPE_CHECKING:
    from deepgram import DeepgramClient

_HOSTS: Final = {"eu": "https://api.eu.deepgram.com", "global": "https://api.deepgram.com"}
_MODEL: Final = "nova-3"
_LANGUAGES_WITH_REGION: Final = frozenset({"es-419"})
"""Deepgram supports `es` and this one for Spanish."""


class Deepgram(SpeechService):
    """Each call opts out of Deepgram's training, so its audio is not kept."""

    name = "deepgram"

    def __init__(self, options: HostedOptions, settings: DeepgramSettings) -> None:
        sdk = import_client_library("deepgram", "hosted-deepgram")
        import httpx
        from deepgram.core.api_error import ApiError

        key = read_secret(settings.key_variable, "an API key of Deepgram")
        base = settings.endpoint or _HOSTS[settings.region]
        socket = base.replace("http", "ws", 1)
        self._http = httpx.Client(follow_redirects=False, trust_env=settings.endpoint is None)
        self._client: DeepgramClient = sdk.DeepgramClient(
            api_key=key,
            environment=sdk.DeepgramClientEnvironment(base=base, production=socket, agent=socket, agent_rest=base),
            httpx_client=self._http,
        )
        self._model = options.model or _MODEL
        known = options.language in _LANGUAGES_WITH_REGION
        self._language = options.language if known else options.language.partition("-")[0]
        self.errors = {
            ApiError: _read_status,
            httpx.ConnectError: "unreachable",
            httpx.ConnectTimeout: "unreachable",
            httpx.TimeoutException: "timeout",
            httpx.TransportError: "disconnected",
        }

    def _request(self, flac: bytes, timeout_s: float) -> tuple[Iterable[object], Iterable[RawWord]]:
        answer: Any = self._client.listen.v1.media.transcribe_file(
            request=flac,
            model=self._model,
            language=self._language,
            punctuate=True,
            mip_opt_out=True,
            request_options={"timeout": timeout_s, "max_retries": 0},
        )
        best = answer.results.channels[0].alternatives[0]
        # The client does not validate the fields of the answer.
        return [best.transcript], (
            (getattr(each, "punctuated_word", None) or each.word, each.start, each.end, each.confidence)
            for each in best.words or []
        )

    def close(self) -> None:
        """See `SpeechService.close`."""
        self._http.close()


def _read_status(error: Any) -> HttpStatus:
    code = error.body.get("err_code") if isinstance(error.body, dict) else None
    return error.status_code, error.headers, code
