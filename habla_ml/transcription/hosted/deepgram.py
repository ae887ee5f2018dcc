"""Deepgram, recorded audio: `POST /v1/listen` through deepgram-sdk (developers.deepgram.com/reference)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from habla_ml.settings.hosted import DeepgramSettings
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
    from deepgram import DeepgramClient

_NAME: Final = "deepgram"
_HOSTS: Final = {"eu": "https://api.eu.deepgram.com", "global": "https://api.deepgram.com"}
_MODEL: Final = "nova-3"
_LANGUAGES_WITH_REGION: Final = frozenset({"es-419"})
"""Deepgram supports `es` and this one for Spanish."""


class Deepgram:
    """See `SpeechService`."""

    def __init__(self, options: HostedOptions, settings: DeepgramSettings) -> None:
        sdk = import_client_library("deepgram", "hosted-deepgram")
        import httpx

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

    def recognise(self, recording: EncodedClip, timeout_s: float) -> tuple[str, tuple[RecognisedWord, ...]]:
        """See `SpeechService.recognise`; each call opts out of Deepgram's training, so its audio is not kept."""
        import httpx
        from deepgram.core.api_error import ApiError

        try:
            answer = self._client.listen.v1.media.transcribe_file(
                request=recording.flac,
                model=self._model,
                language=self._language,
                punctuate=True,
                mip_opt_out=True,
                request_options={"timeout": timeout_s, "max_retries": 0},
            )
        except ApiError as error:
            raise _make_call_error(error) from None
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise CallError.unreachable(_NAME) from None
        except httpx.TimeoutException:
            raise CallError.timeout(_NAME, timeout_s) from None
        except httpx.TransportError:
            raise CallError.disconnected(_NAME) from None
        except (ValueError, TypeError, LookupError, AttributeError):
            raise CallError.malformed(_NAME) from None
        return _parse_answer(answer, recording.duration_s)

    def close(self) -> None:
        """See `SpeechService.close`."""
        self._http.close()


def _make_call_error(error: Any) -> CallError:
    body, headers = error.body, error.headers or {}
    code = body.get("err_code") if isinstance(body, dict) else None
    return CallError.from_status(_NAME, error.status_code, headers.get("retry-after"), code)


def _parse_answer(answer: Any, duration_s: float) -> tuple[str, tuple[RecognisedWord, ...]]:
    # The client does not validate the fields of the answer.
    try:
        best = answer.results.channels[0].alternatives[0]
        words = [
            (getattr(each, "punctuated_word", None) or each.word, each.start, each.end, each.confidence)
            for each in best.words or []
        ]
        text = best.transcript
    except (AttributeError, LookupError, TypeError):
        raise CallError.malformed(_NAME) from None
    return clean_text(_NAME, text), clean_words(_NAME, words, duration_s)
