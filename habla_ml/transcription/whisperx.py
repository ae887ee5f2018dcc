"""Decodes with WhisperX in its own virtual environment, because its packages conflict with ours."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from habla_ml.errors import EvaluationError
from habla_ml.transcription.engine import Clip, Hypothesis, RecognisedWord
from habla_ml.transcription.options import DecodingOptions
from habla_ml.virtual_environments import install_environment, sibling_environment

if TYPE_CHECKING:
    from numpy.typing import NDArray

_REQUIREMENTS: Final = (
    "whisperx==3.8.6",
    "ctranslate2==4.8.5",
    "faster-whisper==1.2.1",
    "pydantic==2.14.3",
)
"""CTranslate2 and faster-whisper in our versions, so that only WhisperX differs; pydantic for the messages."""

_CHUNK_S: Final = 30


class WhisperX:
    """WhisperX on a CTranslate2 folder: it detects speech, drops silence, and decodes the speech in one batch.

    The voice activity detector is part of the package. WhisperX does not apply Whisper's thresholds or a temperature.
    """

    model_format: ClassVar = "ctranslate2"
    supported_options: ClassVar = frozenset(
        {
            "beam_size",
            "patience",
            "length_penalty",
            "repetition_penalty",
            "no_repeat_ngram_size",
            "language",
            "task",
            "word_times",
        }
    )

    max_batch_clips = 1
    parallel_batches = 1

    def __init__(self, model_folder: Path, options: DecodingOptions, device: str, cpu_threads: int) -> None:
        if not (model_folder / "model.bin").is_file():
            raise EvaluationError(f"{model_folder} lacks model.bin; name a folder that `ctranslate2_model` wrote")
        # Switch off pyannote's telemetry and downloads of missing files.
        os.environ |= {"PYANNOTE_METRICS_ENABLED": "0", "HF_HUB_OFFLINE": "1"}
        import torch
        import whisperx
        from whisperx.asr import WhisperModel

        on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        self._options = options
        self._device = "cuda" if on_gpu else "cpu"
        threads = cpu_threads or os.cpu_count() or 1
        torch.set_num_threads(threads)
        aligner = _find_alignment_folder(options.language) if options.word_times else None
        try:
            self._pipeline = whisperx.load_model(
                str(model_folder),
                self._device,
                # WhisperX would load an int8 model as float32.
                model=WhisperModel(str(model_folder), device=self._device, cpu_threads=threads, local_files_only=True),
                language=options.language,
                task=options.task,
                asr_options={
                    "beam_size": options.beam_size,
                    "patience": options.patience,
                    "length_penalty": options.length_penalty,
                    "repetition_penalty": options.repetition_penalty,
                    "no_repeat_ngram_size": options.no_repeat_ngram_size,
                },
            )
            if aligner is not None:
                self._aligner = whisperx.load_align_model(
                    options.language, self._device, model_name=str(aligner), model_cache_only=True
                )
        except (RuntimeError, ValueError, OSError) as error:
            raise EvaluationError(
                f"whisperx cannot load {model_folder} on {self._device}: {error}; convert the checkpoint again, or set "
                "evaluation.device to cpu"
            ) from error

    def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """See `Engine.transcribe`."""
        return [self._transcribe_clip(each) for each in clips]

    def _transcribe_clip(self, clip: Clip) -> Hypothesis:
        began_s = time.perf_counter()
        audio = np.array(clip.audio, np.float32)  # torch needs a writable array
        segments = self._pipeline.transcribe(audio, batch_size=1, chunk_size=_CHUNK_S)["segments"]
        text = " ".join(each["text"].strip() for each in segments)
        words = self._align_words(segments, audio, clip.duration_s) if self._options.word_times else ()
        lengths_s = [each["end"] - each["start"] for each in segments]
        weighted = sum(each["avg_logprob"] * length_s for each, length_s in zip(segments, lengths_s, strict=True))
        avg_logprob = float(weighted / sum(lengths_s)) if sum(lengths_s) > 0 else None
        return Hypothesis.of(clip, text, time.perf_counter() - began_s, avg_logprob, words=words)

    def _align_words(
        self, segments: list[dict[str, Any]], audio: NDArray[np.float32], duration_s: float
    ) -> tuple[RecognisedWord, ...]:
        """Return the words that have times; the aligner has none for a word without a letter that it knows."""
        if not segments:
            return ()
        import whisperx

        model, about = self._aligner
        aligned = whisperx.align(segments, model, about, audio, self._device)
        return tuple(
            RecognisedWord.inside(duration_s, each["word"], float(each["start"]), float(each["end"]))
            for each in aligned["word_segments"]
            if "start" in each
        )


def _find_alignment_folder(language: str) -> Path:
    """Return the folder of the language's aligner, a wav2vec2 with a CTC head in Transformers format.

    Raises:
        EvaluationError: The aligner, or NLTK's sentence splitter of the language, is missing.
    """
    import nltk
    from whisperx.alignment import PUNKT_LANGUAGES

    folder = Path(sys.prefix) / "alignment" / language
    if not (folder / "config.json").is_file():
        raise EvaluationError(
            f"whisperx aligns words with a wav2vec2 model of the language, and {folder} contains none; copy one there "
            "(config.json, weights, tokenizer), set word_times to false, or use another engine"
        )
    sentences = f"tokenizers/punkt_tab/{PUNKT_LANGUAGES.get(language, 'english')}"
    try:
        nltk.data.find(sentences)
    except LookupError:
        raise EvaluationError(
            f"whisperx splits sentences with NLTK's {sentences}, which is not installed; copy it to "
            f"{Path(sys.prefix) / 'nltk_data' / sentences}, or set word_times to false"
        ) from None
    return folder


def install_whisperx(log: Callable[[str], None]) -> Path:
    """Create the environment if it is missing (8 GB, several minutes), and return its folder.

    `constraints-whisperx.txt` has the versions that were tested together.

    Raises:
        ServiceError: pip failed.
    """
    environment = sibling_environment("whisperx")
    install_environment(environment, _REQUIREMENTS, "constraints-whisperx.txt", log)
    return environment
