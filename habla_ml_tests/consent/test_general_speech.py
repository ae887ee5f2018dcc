"""A withdrawn voice stays out of the general speech of trainings and contests as well."""

from __future__ import annotations

from pathlib import Path

from habla_ml.audio import pcm_sha256
from habla_ml.consent.tombstones import add_tombstones
from habla_ml.contest.speech import meeting_place
from habla_ml.settings import SpeechSource
from habla_ml.training.recipe import load_recipe
from habla_ml.training.speech import read_heard_speech
from habla_ml_tests.consent.lived_in import live_in
from habla_ml_tests.corpus.outside_speech import table
from habla_ml_tests.recordings.world import speech, write_wav

DEMO = Path(__file__).resolve().parents[2] / "configs" / "recipes" / "demo-full.yaml"


def test_a_table_with_a_withdrawn_voice_is_heard_without_it(tmp_path: Path) -> None:
    lived = live_in(tmp_path)
    path = table(tmp_path / "t", [("a.wav", "Buenos días."), ("b.wav", "Adiós.")])
    for seed, name in enumerate("ab"):
        write_wav(path.parent / f"{name}.wav", speech(seed=seed))
    settings = lived.world.settings
    training = settings.training.model_copy(update={"replay": (SpeechSource(path=path),)})
    settings = settings.model_copy(update={"training": training})

    def heard() -> tuple[list[str], list[str]]:
        replay = read_heard_speech(lived.lake, lived.snapshot, load_recipe(DEMO), settings).replay
        contest = meeting_place(str(path), lived.lake, settings)
        return [each.sentence for each in replay.utterances], [each.sentence for each in contest.read()]

    assert heard() == (["Buenos días.", "Adiós."],) * 2
    add_tombstones(lived.lake, (), {pcm_sha256(speech(seed=0))})
    assert heard() == (["Adiós."],) * 2
