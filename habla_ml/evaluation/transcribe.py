"""Decoding speech as it is served: faster-whisper on a CTranslate2 folder, one clip in one 30 s window."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import EvaluationError
from habla_ml.lake import digest_of
from habla_ml.process import keep_freed_memory

if TYPE_CHECKING:
    from faster_whisper import WhisperModel
    from faster_whisper.tokenizer import Tokenizer
    from numpy.typing import NDArray

SAMPLE_RATE = 16_000
WINDOW_S = 30.0
_WINDOW_SAMPLES = int(WINDOW_S * SAMPLE_RATE)
_WINDOW_FRAMES = 3000
_GPU_BATCH = 16
_NEEDED_FILES = ("model.bin", "config.json", "tokenizer.json", "preprocessor_config.json")


class DecodingOptions(BaseModel):
    """What can change the text of a hypothesis besides the model and the audio; the defaults are Habla's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: Literal["faster-whisper"] = "faster-whisper"
    beam_size: Annotated[int, Field(ge=1)] = 5
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """None: one clip at a time on a CPU, where a batch gains nothing and costs memory; 16 on a GPU."""
    language: str = "es"
    task: Literal["transcribe", "translate"] = "transcribe"
    temperature: Annotated[float, Field(ge=0)] = 0.0
    patience: Annotated[float, Field(gt=0)] = 1.0
    length_penalty: float = 1.0
    repetition_penalty: Annotated[float, Field(gt=0)] = 1.0
    no_repeat_ngram_size: Annotated[int, Field(ge=0)] = 0
    no_speech_threshold: float | None = 0.6
    """Above it, a hypothesis whose average log-probability is below the next bound counts as silence."""
    log_prob_threshold: float | None = -1.0
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None

    def digest(self) -> str:
        """sha256 of the options; hypotheses are cached under it."""
        return digest_of(self.model_dump(mode="json"))


@dataclass(frozen=True)
class Hypothesis:
    """What a model heard in one clip, or why it heard nothing."""

    audio_sha256: str
    text: str
    decode_s: float
    """Wall time of this clip; in a batch, its share of the batch."""
    duration_s: float
    failure: str | None = None
    """Why the clip could not be decoded; it is scored as an empty text."""
    avg_logprob: float | None = None
    no_speech_prob: float | None = None


class Transcriber(Protocol):
    """An engine with its model and options. `language`, thresholds and the like are in the options."""

    @property
    def options(self) -> DecodingOptions:
        """What the hypotheses depend on."""
        ...

    def transcribe(self, utterances: Sequence[Utterance]) -> list[Hypothesis]:
        """One hypothesis for each utterance, in order; unusable audio gives a failure, never an exception."""
        ...


class FasterWhisperTranscriber:
    """faster-whisper as Habla runs it: language given, no VAD, no time stamps, audio padded with silence to 30 s.

    The clips of a batch go through the encoder and the beam search together; the text is the one that
    `WhisperModel.transcribe` gives for each padded clip alone. The model is loaded at the first clip.
    """

    def __init__(
        self, model_folder: Path, options: DecodingOptions, device: str = "auto", cpu_threads: int = 0
    ) -> None:
        missing = [name for name in _NEEDED_FILES if not (model_folder / name).is_file()]
        if missing:
            raise EvaluationError(
                f"{model_folder} lacks {', '.join(missing)}, so faster-whisper would look for them on the "
                "network; pass a folder that `ctranslate2_model` made"
            )
        self._folder = model_folder
        self._options = options
        self._device = device
        self._cpu_threads = cpu_threads

    @property
    def options(self) -> DecodingOptions:
        """See `Transcriber.options`."""
        return self._options

    def transcribe(self, utterances: Sequence[Utterance]) -> list[Hypothesis]:
        """See `Transcriber.transcribe`; raises `EvaluationError` where the engine itself fails."""
        found: dict[int, Hypothesis] = {}
        usable = []
        for at, utterance in enumerate(utterances):
            fault = audio_fault(utterance.audio)
            if fault is None:
                usable.append(at)
            else:
                found[at] = Hypothesis(utterance.audio_sha256, "", 0.0, utterance.duration_s, failure=fault)
        if usable:
            at_once = self._clips_at_once()
            batches = [usable[start : start + at_once] for start in range(0, len(usable), at_once)]
            # CTranslate2 releases the interpreter; small models gain from clips side by side, not from more threads.
            with ThreadPoolExecutor(self._workers) as pool:
                decoded = pool.map(lambda batch: self._decode([utterances[at] for at in batch]), batches)
                for batch, hypotheses in zip(batches, decoded, strict=True):
                    found.update(zip(batch, hypotheses, strict=True))
        return [found[at] for at in range(len(utterances))]

    @property
    def _workers(self) -> int:
        """Clips (or batches) decoded side by side: one for each core of a CPU, one on a GPU."""
        return 1 if self._device == "cuda" else self._cpu_threads or os.cpu_count() or 1

    @cached_property
    def _model(self) -> WhisperModel:
        from faster_whisper import WhisperModel

        keep_freed_memory()
        try:
            return WhisperModel(
                str(self._folder),
                device=self._device,
                cpu_threads=1,
                num_workers=self._workers,
                local_files_only=True,
            )
        except (RuntimeError, ValueError) as error:
            raise EvaluationError(
                f"faster-whisper cannot load {self._folder} on {self._device}: {error}; "
                "convert the checkpoint again, or set evaluation.device to cpu"
            ) from error

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from faster_whisper.tokenizer import Tokenizer

        model, options = self._model, self._options
        multilingual = model.model.is_multilingual
        if not multilingual and options.language != "en":
            raise EvaluationError(
                f"{self._folder} is an English-only Whisper and cannot decode language {options.language!r}; "
                "convert a multilingual checkpoint"
            )
        try:
            return Tokenizer(model.hf_tokenizer, multilingual, task=options.task, language=options.language)
        except ValueError as error:
            raise EvaluationError(f"decoding options for {self._folder}: {error}") from error

    def _clips_at_once(self) -> int:
        _ = self._tokenizer  # loaded here, before several threads ask for it
        if self._options.batch_size is not None:
            return self._options.batch_size
        return _GPU_BATCH if self._model.model.device == "cuda" else 1

    def _decode(self, utterances: Sequence[Utterance]) -> list[Hypothesis]:
        started = time.perf_counter()
        features = np.stack([self._features(each.audio) for each in utterances])
        try:
            results = self._generate(features)
        except RuntimeError as error:
            raise EvaluationError(
                f"decoding {len(utterances)} clips with {self._folder} failed: {error}; where memory ran out, "
                "lower evaluation.batch_size. Hypotheses that were saved stay saved"
            ) from error
        share_s = (time.perf_counter() - started) / len(utterances)
        return [self._hypothesis(*pair, share_s) for pair in zip(utterances, results, strict=True)]

    def _features(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log-mel of the clip and silence up to 30 s, shape [n_mels, 3000]."""
        padded = np.zeros(_WINDOW_SAMPLES, dtype=np.float32)
        padded[: len(audio)] = audio
        features: NDArray[np.float32] = self._model.feature_extractor(padded)[:, :_WINDOW_FRAMES]
        return features

    def _generate(self, features: NDArray[np.float32]) -> list[Any]:
        from faster_whisper.transcribe import get_suppressed_tokens

        model, options, tokenizer = self._model, self._options, self._tokenizer
        prompt = model.get_prompt(tokenizer, [], without_timestamps=True)
        longest = model.max_length
        if options.max_new_tokens is not None:
            longest = min(longest, len(prompt) + options.max_new_tokens)
        search = {"beam_size": options.beam_size, "patience": options.patience}
        if options.temperature > 0:
            search = {"beam_size": 1, "sampling_topk": 0, "sampling_temperature": options.temperature}
        results: list[Any] = model.model.generate(
            model.encode(features),
            [prompt] * len(features),
            length_penalty=options.length_penalty,
            repetition_penalty=options.repetition_penalty,
            no_repeat_ngram_size=options.no_repeat_ngram_size,
            max_length=longest,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=get_suppressed_tokens(tokenizer, [-1]),
            **search,
        )
        return results

    def _hypothesis(self, utterance: Utterance, result: Any, decode_s: float) -> Hypothesis:
        options = self._options
        tokens = result.sequences_ids[0]
        # CTranslate2 scores by length ** penalty without the end token; faster-whisper averages with it.
        avg_logprob = result.scores[0] * len(tokens) ** options.length_penalty / (len(tokens) + 1)
        silent = options.no_speech_threshold is not None and result.no_speech_prob > options.no_speech_threshold
        if options.log_prob_threshold is not None and avg_logprob > options.log_prob_threshold:
            silent = False
        return Hypothesis(
            audio_sha256=utterance.audio_sha256,
            text="" if silent else self._tokenizer.decode(tokens).strip(),
            decode_s=decode_s,
            duration_s=utterance.duration_s,
            avg_logprob=float(avg_logprob),
            no_speech_prob=float(result.no_speech_prob),
        )


def audio_fault(audio: NDArray[np.float32]) -> str | None:
    """Why these samples cannot be decoded in one window, or None."""
    if audio.ndim != 1:
        return f"audio has shape {audio.shape}, expected one channel of samples"
    if not len(audio):
        return "audio holds no sample"
    if len(audio) > _WINDOW_SAMPLES:
        return f"audio lasts {len(audio) / SAMPLE_RATE:.1f} s, more than the window of {WINDOW_S:.0f} s"
    if not np.isfinite(audio).all():
        return "audio holds samples that are not finite"
    return None
