from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import EvaluationError
from habla_ml.transcription.faster_whisper_batched import FasterWhisperBatched
from habla_ml.transcription.options import DecodingOptions

pytestmark = pytest.mark.slow

OPTIONS = DecodingOptions(engine="faster-whisper-batched", max_new_tokens=40)


def test_each_clip_gets_the_text_that_the_pipeline_gives_it_alone(
    base_artefact: Path, sentences: list[Utterance]
) -> None:
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    short = replace(sentences[1], audio_sha256="0" * 64, duration_s=0.0125, audio=sentences[1].audio[:200])
    clips = [sentences[0], short, *sentences[2:6]]
    pipeline = BatchedInferencePipeline(WhisperModel(str(base_artefact), device="cpu", cpu_threads=1))
    expected = []
    for clip in clips:
        whole = [{"start": 0.0, "end": (len(clip.audio) + 0.25) / 16_000}]
        segments, _ = pipeline.transcribe(
            clip.audio, language="es", temperature=0.0, clip_timestamps=whole, max_new_tokens=40
        )
        expected.append("".join(each.text for each in segments).strip())
    engine = FasterWhisperBatched(base_artefact, OPTIONS, "cpu", 1)
    assert [each.text for each in engine.transcribe(clips)] == expected
    assert len(set(expected)) == len(clips)


def test_very_short_clips_are_not_confused(base_artefact: Path, sentences: list[Utterance]) -> None:
    tiny = replace(sentences[1], audio_sha256="0" * 64, duration_s=0.01, audio=np.zeros(160, np.float32))
    engine = FasterWhisperBatched(base_artefact, OPTIONS, "cpu", 1)
    alone = engine.transcribe([sentences[0]])[0].text
    found = engine.transcribe([*[tiny] * 12, sentences[0]])
    assert [each.audio_sha256 for each in found[:12]] == ["0" * 64] * 12
    assert found[12].text == alone


def test_errors_name_too_many_tokens_and_an_unknown_language(base_artefact: Path) -> None:
    for field, value in (("max_new_tokens", 9_999), ("language", "tlh")):
        with pytest.raises(EvaluationError, match=str(value)):
            FasterWhisperBatched(base_artefact, OPTIONS.model_copy(update={field: value}), "cpu", 1)
