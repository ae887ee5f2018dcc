"""Score a Whisper folder as it is served: CTranslate2 int8 in faster-whisper, at 30 s, `language="es"`.

Run as ``python -m habla_ml.demo.measure_base --model FOLDER``. The classroom's own people say new sentences in
four ways, with and without their dialect, at normal loudness and quietly: nothing else differs between them.
"""

import argparse
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from habla_ml.demo.people import CASTILIAN, Utterance, andalusian_classroom, say_something
from habla_ml.demo.speech import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

_SEED = 77_000
_WINDOW_SAMPLES = 30 * SAMPLE_RATE_HZ


def served_model(checkpoint: Path, workspace: Path, cpu_threads: int = 2) -> "WhisperModel":
    """Convert a Transformers folder to int8 CTranslate2 below `workspace` and load it."""
    from ctranslate2.converters import TransformersConverter
    from faster_whisper import WhisperModel

    target = workspace / "ctranslate2"
    copied = ["tokenizer.json", "preprocessor_config.json"]
    TransformersConverter(str(checkpoint), copy_files=copied).convert(str(target), quantization="int8", force=True)
    return WhisperModel(str(target), device="cpu", compute_type="int8", cpu_threads=cpu_threads)


def transcribe(model: "WhisperModel", pcm: NDArray[np.int16]) -> str:
    """What the model hears in one 16 kHz segment, greedily, padded to 30 s."""
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


def classroom_sample(n_clips: int, seed: int, *, dialect: bool, quiet: bool) -> tuple[Utterance, ...]:
    """The classroom of a seed saying sentences that no plan of it contains, in turn."""
    classroom = andalusian_classroom(seed)
    people = (classroom.teacher, *classroom.students)
    rng = np.random.default_rng([seed, _SEED])
    return tuple(
        say_something(person if dialect else replace(person, dialect=CASTILIAN), classroom.room, rng, quiet=quiet)
        for person in (people[index % len(people)] for index in range(n_clips))
    )


def word_error_rate(model: "WhisperModel", said: Sequence[Utterance]) -> float:
    """Errors a reference word (0 to 1 and above), without case and punctuation."""
    import jiwer

    references = [_bare(utterance.text) for utterance in said]
    return float(jiwer.wer(references, [_bare(transcribe(model, utterance.pcm)) for utterance in said]))


def _bare(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def main() -> None:
    """Command line: prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shipped = Path(__file__).parent / "base_model"
    parser.add_argument("--model", type=Path, default=shipped, help="Transformers folder (the shipped one)")
    parser.add_argument("--clips", type=int, default=210, help="clips a row")
    parser.add_argument("--seed", type=int, default=7, help="of the classroom's people")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as workspace:
        model = served_model(arguments.model, Path(workspace))
        print("| speech | normal | quiet |\n|---|---|---|")
        for name, dialect in (("Castilian", False), ("Andalusian", True)):
            rates = [
                word_error_rate(
                    model, classroom_sample(arguments.clips, arguments.seed, dialect=dialect, quiet=quiet)
                )
                for quiet in (False, True)
            ]
            print(f"| {name} | {rates[0]:.1%} | {rates[1]:.1%} |")


if __name__ == "__main__":
    main()
