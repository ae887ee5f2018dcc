"""Decodes a CTranslate2 model by the rules of WhisperKit."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from habla_ml.transcription.engine import Clip, Hypothesis
from habla_ml.transcription.faster_whisper import compute_window_features
from habla_ml.transcription.one_clip_engine import OneClipEngine
from habla_ml.transcription.seeded_sampling import SeededWhisper
from habla_ml.transcription.token_loop import TokenSampler
from habla_ml.transcription.whisperkit_rules import (
    WHISPERKIT_OPTIONS,
    Attempt,
    Window,
    build_whisperkit_prompt,
    transcribe_by_whisperkit_rules,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ANY_INITIAL_TIMESTAMP: Final = 1500
_LEAST_PROBABILITY: Final = 1e-30


class WhisperKitRules(OneClipEngine):
    """The rules of the phone with the weights that Habla serves; `coreml` executes the phone's own programs."""

    supported_options: ClassVar = WHISPERKIT_OPTIONS

    def _transcribe_clip(self, clip: Clip, sampler: SeededWhisper) -> Hypothesis:
        open_window = partial(self._open_window, sampler)
        return transcribe_by_whisperkit_rules(clip, self._options, self._tokenizer, open_window)

    def _open_window(self, sampler: SeededWhisper, audio: NDArray[np.float32]) -> Window:
        features = compute_window_features(self._model, audio)
        encoded = self._model.encode(features[np.newaxis])
        logits = np.zeros(1)
        if self._model.model.is_multilingual:
            # CTranslate2 gives what follows `<|startoftranscript|>` for the languages only.
            (languages,) = self._model.model.detect_language(encoded)
            logits = np.log([max(probability, _LEAST_PROBABILITY) for _, probability in languages])
        return Window(logits, partial(self._write_text, sampler, encoded))

    def _write_text(self, whisper: SeededWhisper, encoded: Any, sampler: TokenSampler) -> Attempt:
        from faster_whisper.transcribe import get_suppressed_tokens

        options, tokenizer = self._options, self._tokenizer
        search: dict[str, Any] = {"beam_size": options.beam_size}
        if sampler.temperature > 0:
            search = {
                "beam_size": 1,
                "sampling_topk": sampler.top_k,
                "sampling_temperature": sampler.temperature,
            }
        (result,) = whisper.generate(
            encoded,
            [build_whisperkit_prompt(tokenizer, options)],
            max_length=self._model.max_length,  # CTranslate2 halves it to the 224 tokens of WhisperKit
            return_scores=True,
            suppress_blank=False,
            suppress_tokens=get_suppressed_tokens(tokenizer, []),
            max_initial_timestamp_index=_ANY_INITIAL_TIMESTAMP,
            **search,
        )
        written = result.sequences_ids[0]  # with the forced timestamp, whose probability the score does not include
        tokens = tuple(written[1:] if options.timestamps else written)
        return Attempt(tokens, float(result.scores[0]) * len(written) / (len(tokens) + 1))
