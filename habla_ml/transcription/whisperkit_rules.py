"""Decodes a CTranslate2 model by the rules of WhisperKit, the decoder of the phone.

The rules are read from `TranscribeTask.swift`, `TextDecoder.swift` and `LogitsFilter.swift` of argmaxinc's WhisperKit 1.0.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from habla_ml.audio import SAMPLE_RATE
from habla_ml.transcription.engine import Clip, Hypothesis, compute_compression_ratio
from habla_ml.transcription.faster_whisper import compute_window_features
from habla_ml.transcription.one_clip_engine import OneClipEngine
from habla_ml.transcription.seeded_sampling import SeededWhisper

_LAST_SAMPLES: Final = SAMPLE_RATE
"""`windowClipTime`: no window starts in the last second of a clip, so a clip of 1 s or less has no text."""
_SAMPLES_PER_TIMESTAMP: Final = SAMPLE_RATE // 50
_TOP_K: Final = 5
_ANY_INITIAL_TIMESTAMP: Final = 1500


@dataclass(frozen=True)
class _Attempt:
    """The text of one window at one temperature."""

    tokens: tuple[int, ...]
    """With the forced first timestamp."""
    avg_logprob: float


class WhisperKitRules(OneClipEngine):
    """Timestamps that start at a forced `<|0.00|>`, and attempts at higher temperatures of which the last one counts.

    An attempt fails if its first token, its compression ratio or its average log-probability misses the threshold. At a
    temperature above 0, a token is drawn among the five most probable ones.
    """

    supported_options: ClassVar = frozenset(
        {
            "beam_size",
            "language",
            "task",
            "temperature",
            "timestamps",
            "fallback_temperatures",
            "no_speech_threshold",
            "log_prob_threshold",
            "compression_ratio_threshold",
            "first_token_log_prob_threshold",
        }
    )

    def _transcribe_clip(self, clip: Clip, sampler: SeededWhisper) -> Hypothesis:
        began_s = time.perf_counter()
        audio, seek, texts = clip.audio, 0, []
        avg_logprob: float | None = None
        while seek < len(audio) - _LAST_SAMPLES:
            features = compute_window_features(self._model, audio[seek:])
            attempt = self._decode_window(sampler, self._model.encode(features[np.newaxis]))
            if avg_logprob is None:
                avg_logprob = attempt.avg_logprob
            tokens, timestamps = split_at_last_timestamp(attempt.tokens, self._tokenizer.timestamp_begin)
            texts.append(self._decode_text(tokens))
            # Without progress WhisperKit would decode the window for ever.
            seek = len(audio) if not timestamps else seek + timestamps * _SAMPLES_PER_TIMESTAMP
        text = " ".join(each for each in texts if each)
        return Hypothesis.of(clip, text, time.perf_counter() - began_s, avg_logprob)

    def _decode_window(self, sampler: SeededWhisper, encoded: Any) -> _Attempt:
        options = self._options
        for temperature in (options.temperature, *options.fallback_temperatures):
            attempt, first_logprob = self._decode_at(sampler, encoded, temperature)
            ratio = compute_compression_ratio(self._decode_text(attempt.tokens)) or 0.0
            floor, first_floor = options.log_prob_threshold, options.first_token_log_prob_threshold
            if first_floor is not None and first_logprob < first_floor:
                # WhisperKit stops decoding at such a token.
                attempt = _Attempt((), attempt.avg_logprob)
                continue
            bound = options.compression_ratio_threshold
            if (bound is None or ratio <= bound) and (floor is None or attempt.avg_logprob >= floor):
                break
        return attempt

    def _decode_at(self, sampler: SeededWhisper, encoded: Any, temperature: float) -> tuple[_Attempt, float]:
        """Return the text at one temperature, and the log-probability of its first token."""
        from faster_whisper.transcribe import get_suppressed_tokens

        options, tokenizer = self._options, self._tokenizer
        start = tokenizer.timestamp_begin if options.timestamps else tokenizer.no_timestamps
        prompt = [*tokenizer.sot_sequence, start]
        search: dict[str, Any] = {"beam_size": options.beam_size}
        if temperature > 0:
            search = {"beam_size": 1, "sampling_topk": _TOP_K, "sampling_temperature": temperature}
        (result,) = sampler.generate(
            encoded,
            [prompt],
            max_length=self._model.max_length,  # CTranslate2 halves it to the 224 tokens of WhisperKit
            return_scores=True,
            return_logits_vocab=True,
            suppress_blank=False,
            suppress_tokens=get_suppressed_tokens(tokenizer, []),
            max_initial_timestamp_index=_ANY_INITIAL_TIMESTAMP,
            **search,
        )
        tokens = result.sequences_ids[0]
        first = tokens[0] if tokens else tokenizer.eot
        avg_logprob = result.scores[0] * len(tokens) / (len(tokens) + 1)
        opening = (start,) if options.timestamps else ()
        return _Attempt((*opening, *tokens), float(avg_logprob)), _log_softmax(result.logits[0][0], first, temperature)

    def _decode_text(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode([each for each in tokens if each < self._tokenizer.eot])
        return text.strip()


def split_at_last_timestamp(tokens: Sequence[int], timestamp_begin: int) -> tuple[Sequence[int], int]:
    """Return the tokens that count, and the timestamp in 0.02 s at which the next window starts; 0 for none.

    As in Whisper: two timestamps in a row close a segment. Tokens after the last closed segment are decoded again, unless
    one timestamp ends them. A window without two timestamps in a row is complete.
    """
    is_time = [each >= timestamp_begin for each in tokens]
    closed = [at for at in range(1, len(tokens)) if is_time[at - 1] and is_time[at]]
    ends_with_one = is_time[-2:] == [False, True]
    if not closed or ends_with_one:
        return tokens, 0
    return tokens[: closed[-1]], tokens[closed[-1] - 1] - timestamp_begin


def _log_softmax(logits: Any, token: int, temperature: float) -> float:
    """Return the log-probability of a token before any filter, at a temperature (0 counts as 1)."""
    values = np.asarray(logits, dtype=np.float64) / (temperature or 1.0)
    top = float(values.max())
    return float(values[token]) - top - math.log(float(np.exp(values - top).sum()))
