"""The rules of WhisperKit, the decoder of the phone, over any model that decodes a window at a temperature.

They are read from `TranscribeTask.swift`, `TextDecoder.swift` and `LogitsFilter.swift` of argmaxinc's WhisperKit 1.0:
timestamps that start at a forced `<|0.00|>`, and attempts at higher temperatures of which the last one counts.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from habla_ml.audio import SAMPLE_RATE
from habla_ml.transcription.engine import Clip, Hypothesis
from habla_ml.transcription.options import DecodingOptions
from habla_ml.transcription.seeded_sampling import make_clip_random
from habla_ml.transcription.token_loop import TokenSampler

if TYPE_CHECKING:
    from faster_whisper.tokenizer import Tokenizer
    from numpy.typing import NDArray

WHISPERKIT_OPTIONS: Final = frozenset(
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
"""Fields of `DecodingOptions` that the rules apply."""

_TOP_K: Final = 5
"""At a temperature above 0, a token is drawn among so many."""
_DEFLATE_LEVEL: Final = 5
"""Of Apple's `NSData.compressed(using: .zlib)`."""
_LAST_SAMPLES: Final = SAMPLE_RATE
"""`windowClipTime`: no window starts in the last second of a clip, so a clip of 1 s or less has no text."""
_SAMPLES_PER_TIMESTAMP: Final = SAMPLE_RATE // 50


@dataclass(frozen=True)
class Attempt:
    """The text of one window at one temperature."""

    tokens: tuple[int, ...]
    """Without prompt, forced timestamp and end token."""
    avg_logprob: float
    """Over the tokens and the end token."""


@dataclass(frozen=True)
class Window:
    """At most 30 s of audio, encoded."""

    first_logits: NDArray[np.float64]
    """After `<|startoftranscript|>`, of all tokens or of the languages, shape [n]."""
    decode: Callable[[TokenSampler], Attempt]
    """Writes a text; a model that has its own random draws reads the temperature only."""


class SegmentTimes:
    """The times of the segments so far; a segment without an end lasts to the end of the clip."""

    def __init__(self, duration_s: float) -> None:
        self._duration_s = duration_s
        self.span_s: tuple[float, float] | None = None

    def add(self, tokens: Sequence[int], timestamp_begin: int, window_start_s: float) -> None:
        """Add the segments of a window with a text."""
        times_s = [window_start_s + (each - timestamp_begin) / 50 for each in tokens if each >= timestamp_begin]
        end_s = times_s[-1] if tokens[-1] >= timestamp_begin else self._duration_s
        first_s = self.span_s[0] if self.span_s else times_s[0]
        self.span_s = (first_s, min(end_s, self._duration_s))


def build_whisperkit_prompt(tokenizer: Tokenizer, options: DecodingOptions) -> list[int]:
    """Return the tokens before a text, with the forced first timestamp."""
    return [*tokenizer.sot_sequence, tokenizer.timestamp_begin if options.timestamps else tokenizer.no_timestamps]


def transcribe_by_whisperkit_rules(
    clip: Clip, options: DecodingOptions, tokenizer: Tokenizer, open_window: Callable[[NDArray[np.float32]], Window]
) -> Hypothesis:
    """Decode a clip window by window.

    Args:
        clip: A usable clip.
        options: Options that set `WHISPERKIT_OPTIONS` only.
        tokenizer: That of the model.
        open_window: Encodes at most 30 s of audio.
    """
    began_s = time.perf_counter()
    audio, seek, texts, random = clip.audio, 0, list[str](), make_clip_random(clip.audio_sha256)
    avg_logprobs: list[float | None] = []
    segments = SegmentTimes(clip.duration_s)
    while seek < len(audio) - _LAST_SAMPLES:
        attempt = _decode_window(open_window(audio[seek:]), options, tokenizer, random)
        avg_logprobs.append(attempt.avg_logprob if attempt else None)
        opening = (tokenizer.timestamp_begin,) if options.timestamps else ()
        written = (*opening, *attempt.tokens) if attempt else ()
        tokens, timestamps = split_at_last_timestamp(written, tokenizer.timestamp_begin)
        texts.append(_decode_text(tokenizer, tokens))
        if options.timestamps and texts[-1]:
            segments.add(tokens, tokenizer.timestamp_begin, seek / SAMPLE_RATE)
        # Without progress WhisperKit would decode the window for ever.
        seek = len(audio) if not timestamps else seek + timestamps * _SAMPLES_PER_TIMESTAMP
    text = " ".join(each for each in texts if each)
    found = Hypothesis.of(clip, text, time.perf_counter() - began_s, avg_logprobs[0] if avg_logprobs else None)
    return replace(found, segments_s=segments.span_s)


def _decode_window(
    window: Window, options: DecodingOptions, tokenizer: Tokenizer, random: np.random.Generator
) -> Attempt | None:
    """Return the first attempt that passes the thresholds, or else the last one; None for one without a text.

    The first token that WhisperKit looks at is that after `<|startoftranscript|>`, before it forces the language. It stops
    where that token is improbable. The average includes the forced tokens, whose log-probability is 0.
    """
    n_prompt = len(build_whisperkit_prompt(tokenizer, options))
    attempt: Attempt | None = None
    for temperature in (options.temperature, *options.fallback_temperatures):
        sampler = TokenSampler(temperature, _TOP_K, random)
        floor, first_floor = options.log_prob_threshold, options.first_token_log_prob_threshold
        if first_floor is not None and sampler.choose(window.first_logits)[1] < first_floor:
            attempt = None
            continue
        attempt = window.decode(sampler)
        n_tokens = len(attempt.tokens) + 1
        avg_logprob = attempt.avg_logprob * n_tokens / (n_prompt + n_tokens)
        ratio, bound = _compute_token_ratio(tokenizer, attempt.tokens), options.compression_ratio_threshold
        if (bound is None or ratio <= bound) and (floor is None or avg_logprob >= floor):
            break
    return attempt


def _compute_token_ratio(tokenizer: Tokenizer, tokens: Sequence[int]) -> float:
    """Return the bytes of the tokens of text as 32-bit numbers over these bytes deflated; 0 without text."""
    data = np.array([each for each in tokens if each < tokenizer.eot], dtype="<i4").tobytes()
    packer = zlib.compressobj(_DEFLATE_LEVEL, wbits=-zlib.MAX_WBITS)
    return len(data) / len(packer.compress(data) + packer.flush())


def _decode_text(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    text: str = tokenizer.decode([each for each in tokens if each < tokenizer.eot])
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
