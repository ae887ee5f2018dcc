"""Score a Whisper folder as it is served: CTranslate2 int8 in faster-whisper, at 30 s, `language="es"`.

Run as ``python -m tools.base_model.measure --model FOLDER``. The people of the classroom speak new sentences with
and without dialect, at normal and at low loudness; nothing else differs. A second pass decodes with the defaults of
`habla_ml.transcription`, silence thresholds included. It measures output on clips without speech and omissions in
quiet speech.
"""

import argparse
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from habla_ml.audio import dequantise, pcm_sha256
from habla_ml.demo.speech_synthesis import SAMPLE_RATE_HZ
from habla_ml.demo.synthetic_speakers import (
    CASTILIAN,
    SpokenUtterance,
    make_andalusian_classroom,
    synthesize_utterance,
)
from habla_ml.evaluation.metrics.hallucination_detection import NonSpeechFinding, find_non_speech_hallucinations
from habla_ml.evaluation.metrics.non_speech import make_built_in_clips
from habla_ml.transcription.engine import Clip, Hypothesis
from habla_ml.transcription.faster_whisper import FasterWhisper
from habla_ml.transcription.options import DecodingOptions

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

_SAMPLE_SEED = 77_000
_WINDOW_SAMPLES = 30 * SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Omissions:
    """Omissions of a served model.

    Attributes:
        clips: Number of decoded clips.
        clips_without_output: Number of clips with an empty hypothesis.
        words: Number of reference words.
        deletions: Number of deleted words.
    """

    clips: int
    clips_without_output: int
    words: int
    deletions: int


@dataclass(frozen=True)
class _ClassroomClip:
    """A `Clip` of the classroom."""

    audio_sha256: str
    duration_s: float
    audio: NDArray[np.float32]


def load_served_model(checkpoint: Path, workspace: Path, cpu_threads: int = 2) -> "WhisperModel":
    """Convert a Transformers folder to int8 CTranslate2 below `workspace` and load it."""
    from ctranslate2.converters import TransformersConverter
    from faster_whisper import WhisperModel

    target = workspace / "ctranslate2"
    copied = ["tokenizer.json", "preprocessor_config.json"]
    TransformersConverter(str(checkpoint), copy_files=copied).convert(str(target), quantization="int8", force=True)
    return WhisperModel(str(target), device="cpu", compute_type="int8", cpu_threads=cpu_threads)


def transcribe(model: "WhisperModel", pcm: NDArray[np.int16]) -> str:
    """Transcribe one 16 kHz segment greedily, padded to 30 s."""
    # faster-whisper would pad the features with zeros; WhisperX and the phone pad the audio with silence.
    padded = np.zeros(_WINDOW_SAMPLES, dtype=np.float32)
    padded[: len(pcm)] = pcm.astype(np.float32) / 32768
    segments, _ = model.transcribe(
        padded,
        language="es",
        beam_size=1,
        without_timestamps=True,
        condition_on_previous_text=False,
        temperature=0.0,
        compression_ratio_threshold=None,
        log_prob_threshold=None,
        no_speech_threshold=None,
    )
    return " ".join(segment.text.strip() for segment in segments)


def synthesize_classroom_utterances(
    n_clips: int, seed: int, *, dialect: bool, quiet: bool
) -> tuple[SpokenUtterance, ...]:
    """Synthesise new sentences of each person in the classroom of a seed, in turn."""
    classroom = make_andalusian_classroom(seed)
    people = (classroom.teacher, *classroom.students)
    rng = np.random.default_rng([seed, _SAMPLE_SEED])
    return tuple(
        synthesize_utterance(
            person if dialect else replace(person, dialect=CASTILIAN), classroom.room, rng, quiet=quiet
        )
        for person in (people[index % len(people)] for index in range(n_clips))
    )


def measure_word_error_rate(model: "WhisperModel", utterances: Sequence[SpokenUtterance]) -> float:
    """Return errors per reference word (0 to 1 and above), without case and punctuation."""
    import jiwer

    references = [_strip_case_and_punctuation(each.text) for each in utterances]
    hypotheses = [_strip_case_and_punctuation(transcribe(model, each.pcm)) for each in utterances]
    return float(jiwer.wer(references, hypotheses))


def find_non_speech_output(model_folder: Path, takes: int = 1) -> tuple[NonSpeechFinding, ...]:
    """Decode the built-in clips without speech with a CTranslate2 folder."""
    clips = tuple(make_built_in_clips(takes=takes))
    return find_non_speech_hallucinations(
        clips, {each.audio_sha256: each for each in _decode_clips(model_folder, clips)}
    )


def measure_omissions(model_folder: Path, utterances: Sequence[SpokenUtterance]) -> Omissions:
    """Measure the omissions of a CTranslate2 folder."""
    import jiwer

    clips = [_ClassroomClip(pcm_sha256(each.pcm), each.duration_s, dequantise(each.pcm)) for each in utterances]
    texts = [_strip_case_and_punctuation(each.text) for each in _decode_clips(model_folder, clips)]
    counted = jiwer.process_words([_strip_case_and_punctuation(each.text) for each in utterances], texts)
    words = counted.hits + counted.substitutions + counted.deletions
    return Omissions(len(texts), texts.count(""), words, counted.deletions)


def _decode_clips(model_folder: Path, clips: Sequence[Clip]) -> list[Hypothesis]:
    engine = FasterWhisper(model_folder, DecodingOptions(), "cpu", cpu_threads=2)
    return [engine.transcribe([clip])[0] for clip in clips]


def _strip_case_and_punctuation(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shipped = Path(__file__).parents[2] / "habla_ml" / "demo" / "base_model"
    parser.add_argument("--model", type=Path, default=shipped, help="Transformers folder (the shipped one)")
    parser.add_argument("--clips", type=int, default=210, help="clips per row")
    parser.add_argument("--seed", type=int, default=7, help="seed of the people")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as workspace:
        model = load_served_model(arguments.model, Path(workspace))
        folder = Path(workspace) / "ctranslate2"
        print("| speech | normal | quiet | omissions in quiet speech |\n|---|---|---|---|")
        for name, dialect in (("Castilian", False), ("Andalusian", True)):
            normal, quiet = (
                synthesize_classroom_utterances(arguments.clips, arguments.seed, dialect=dialect, quiet=quiet)
                for quiet in (False, True)
            )
            rates = [measure_word_error_rate(model, each) for each in (normal, quiet)]
            left = measure_omissions(folder, quiet)
            print(
                f"| {name} | {rates[0]:.1%} | {rates[1]:.1%} | {left.deletions / left.words:.1%} of the words, "
                f"{left.clips_without_output} of {left.clips} clips |"
            )
        for takes in (1, 4):
            found = find_non_speech_output(folder, takes)
            written = sum(each.has_output for each in found)
            print(f"\nOutput on {written} of {len(found)} clips without speech")


if __name__ == "__main__":
    main()
