"""A test set grows between two reports: the second has all versions on the new set, and the looks at each set."""

from __future__ import annotations

from pathlib import Path

import pytest

from habla_ml.evaluation.comparison.decoding import EvaluatedModel
from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
from habla_ml.evaluation.comparison.test_speech import load_test_speech
from habla_ml.evaluation.run import Evaluation, run_evaluation
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.settings import Settings
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.hypothesis_cache import save_hypotheses
from habla_ml.transcription.serving_profiles import build_served_options
from habla_ml_tests.testing.released_models import make_review_settings
from habla_ml_tests.testing.trained_versions import fake_digest, store_trained_plan
from habla_ml_tests.testing.training_snapshot import SENTENCES, TrainingClipSpec, publish_snapshot

LOST_WORDS = {"base": 2, "v1": 1, "v2": 0}


def publish_test_set(lake: Lake, clips: int) -> None:
    specs = [TrainingClipSpec(f"segment-{at:03}", "test", SENTENCES[at % 4], 1.0) for at in range(clips)]
    value = {"snapshot": publish_snapshot(lake, specs).id}
    lake.move_pointer("splits/latest", value, lake.read_pointer("splits/latest"))


def evaluate(lake: Lake, settings: Settings, version: str) -> Evaluation:
    """Evaluate a version whose hypotheses, and those of the others, are in the cache."""
    speech, options = load_test_speech("test", lake, settings), build_served_options(settings.evaluation)
    for name, lost in LOST_WORDS.items():
        texts = {each.audio_sha256: " ".join(each.sentence.split()[lost:]) for each in speech.read()}
        found = {sound: Hypothesis(sound, text, None, 1.0) for sound, text in texts.items()}
        save_hypotheses(lake, fake_digest(name), options, found)
    if lake.read_pointer(f"models/{version}/plan") is None:
        store_trained_plan(lake, version)
        export = {"tree": fake_digest(version), "checkpoint": "0" * 64, "size_bytes": 1, "mended": []}
        lake.move_pointer(f"models/{version}/ctranslate2", export, None)
    models = [  # everything is in the cache, so no engine starts
        EvaluatedModel("base", "base", fake_digest("base"), settings.work_folder),
        EvaluatedModel(version, "candidate", fake_digest(version), settings.work_folder),
    ]
    return run_evaluation(lake, settings, speech, models, lambda _: None)


@pytest.mark.slow
def test_the_report_on_a_grown_test_set_has_every_version_on_it(tmp_path: Path) -> None:
    settings = make_review_settings(tmp_path)
    off = {"non_speech_takes": 0, "parity_clips": 0, "profile_clips": 0, "speed_clips": 0, "bootstrap_draws": 200}
    settings = settings.model_copy(update={"evaluation": settings.evaluation.model_copy(update=off)})
    lake = Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")
    publish_test_set(lake, 6)
    first = evaluate(lake, settings, "v1").comparison
    assert (first.versions, first.reuse and first.reuse.looks) == ((), 1)
    publish_test_set(lake, 8)
    evaluation = evaluate(lake, settings, "v2")
    second = evaluation.comparison
    assert second.test.digest != first.test.digest
    (v1,) = second.versions
    v1_on_the_old_set = first.model("candidate")
    assert v1_on_the_old_set is not None
    assert v1.interval is not None
    assert v1.interval.value not in (v1_on_the_old_set.wer.value, 0)
    assert sum(each.reference_words for each in v1.counts.values()) == second.test.words
    assert second.reuse is not None
    assert (second.reuse.versions, second.reuse.scored) == (("v1", "v2"), 2)
    page = evaluation.files.html.read_text("utf-8")
    assert "Versions over time" in page
    assert "2 versions were scored on this test set." in page
    assert evaluation.newly_decoded == 0
    again = evaluate(lake, settings, "v2").comparison
    assert again.digest() == second.digest() == read_stored_comparison(lake, "v2").digest()
