"""Builds hypotheses from the output of Whisper, in the same way for every engine that gives probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from habla_ml.errors import EvaluationError
from habla_ml.transcription.engine import Clip, Hypothesis, RecognisedWord, compute_compression_ratio
from habla_ml.transcription.options import DecodingOptions

if TYPE_CHECKING:
    from faster_whisper.tokenizer import Tokenizer

_OPENING_PUNCTUATION: Final = "\"'“¿¡([{-"
_CLOSING_PUNCTUATION: Final = "\"'.。,，!！?？:：”)]}、…"


def build_whisper_hypothesis(
    clip: Clip,
    options: DecodingOptions,
    text: str,
    decode_s: float,
    avg_logprob: float | None,
    no_speech_prob: float | None,
    words: tuple[RecognisedWord, ...] = (),
) -> Hypothesis:
    """Return the hypothesis after applying the thresholds of the options as faster-whisper does.

    The text becomes empty if `no_speech_prob` is above its threshold and `avg_logprob` is not above its own, or if its
    compression ratio is above `compression_ratio_threshold`. A value is None where the engine does not give it.
    """
    threshold, likely = options.no_speech_threshold, options.log_prob_threshold
    is_silence = threshold is not None and no_speech_prob is not None and no_speech_prob > threshold
    if likely is not None and avg_logprob is not None and avg_logprob > likely:
        is_silence = False
    bound = options.compression_ratio_threshold
    if is_silence or (bound is not None and (compute_compression_ratio(text) or 0.0) > bound):
        text, words = "", ()
    return Hypothesis.of(clip, text, decode_s, avg_logprob, no_speech_prob, words)


def build_recognised_words(
    timings: Sequence[Mapping[str, Any]], duration_s: float, start_s: float = 0.0
) -> tuple[RecognisedWord, ...]:
    """Return words with their punctuation and with times inside the clip.

    `timings` has `word`, `tokens`, `start` and `end` (s) of each word, as `WhisperModel.find_alignment` returns them.
    `start_s` is where the decoded audio starts in the clip.
    """
    from faster_whisper.transcribe import merge_punctuations

    merged = [dict(each) for each in timings]
    merge_punctuations(merged, _OPENING_PUNCTUATION, _CLOSING_PUNCTUATION)
    return tuple(
        RecognisedWord.inside(
            duration_s, each["word"].strip(), start_s + float(each["start"]), start_s + float(each["end"])
        )
        for each in merged
        if each["word"].strip()
    )


def build_whisper_tokenizer(
    hf_tokenizer: Any, multilingual: bool, model_folder: Path, options: DecodingOptions
) -> Tokenizer:
    """Return faster-whisper's tokenizer around a `tokenizers.Tokenizer`, with the prompt of these options.

    Raises:
        EvaluationError: The model does not support this language or task.
    """
    from faster_whisper.tokenizer import Tokenizer

    if not multilingual and options.language != "en":
        raise EvaluationError(
            f"{model_folder} is an English-only Whisper and cannot decode language {options.language!r}; "
            "use a multilingual checkpoint"
        )
    try:
        tokenizer = Tokenizer(hf_tokenizer, multilingual, task=options.task, language=options.language)
    except ValueError as error:
        raise EvaluationError(f"the decoding options do not fit {model_folder}: {error}") from error
    if None in tokenizer.sot_sequence:
        raise EvaluationError(
            f"the vocabulary of {model_folder} has no token for language {options.language!r} or task "
            f"{options.task!r}; set another one, or use a checkpoint that has it"
        )
    return tokenizer
