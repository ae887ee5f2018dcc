"""A withdrawn voice stays out of the general speech of trainings and comparisons."""

from __future__ import annotations

from pathlib import Path

import pytest

from habla_ml.audio import pcm_sha256
from habla_ml.consent.tombstones import add_tombstones
from habla_ml.evaluation.comparison.test_speech import load_test_speech
from habla_ml.settings import SpeechSource
from habla_ml.training.extra_speech import read_extra_speech
from habla_ml.training.recipe import load_recipe
from habla_ml_tests.testing.full_lake import make_full_lake
from habla_ml_tests.testing.general_speech_sources import write_speech_table
from habla_ml_tests.testing.habla_sessions import make_noise, write_wav

DEMO = Path(__file__).resolve().parents[2] / "configs" / "recipes" / "demo-full.yaml"


@pytest.mark.long
def test_a_withdrawn_voice_is_left_out_of_general_speech(tmp_path: Path) -> None:
    full_lake = make_full_lake(tmp_path)
    path = write_speech_table(tmp_path / "t", [("a.wav", "Buenos días."), ("b.wav", "Adiós.")])
    for seed, name in enumerate("ab"):
        write_wav(path.parent / f"{name}.wav", make_noise(seed=seed))
    settings = full_lake.workspace.settings
    training = settings.training.model_copy(update={"replay": (SpeechSource(path=path),)})
    settings = settings.model_copy(update={"training": training})

    def read_sentences() -> tuple[list[str], list[str]]:
        replay = read_extra_speech(full_lake.lake, full_lake.snapshot, load_recipe(DEMO), settings).replay
        test_speech = load_test_speech(str(path), full_lake.lake, settings)
        return [each.sentence for each in replay.utterances], [each.sentence for each in test_speech.read()]

    assert read_sentences() == (["Buenos días.", "Adiós."],) * 2
    add_tombstones(full_lake.lake, (), {pcm_sha256(make_noise(seed=0))})
    assert read_sentences() == (["Adiós."],) * 2
