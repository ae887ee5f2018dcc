"""Every version is scored on the newest test set; only its new segments are decoded."""

from __future__ import annotations

from pathlib import Path

import pytest

from habla_ml.corpus.snapshot import Utterance
from habla_ml.evaluation.comparison.compare import compare_decoded_models
from habla_ml.evaluation.comparison.rescoring import list_versions_to_rescore, rescore_versions
from habla_ml.evaluation.comparison.test_set_reuse import list_version_scores
from habla_ml.evaluation.comparison.test_speech import TestSpeech, load_test_speech
from habla_ml.evaluation.metrics.inputs import DecodedModel
from habla_ml.evaluation.report import ReportContent
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.settings import Settings
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.hypothesis_cache import read_hypotheses, save_hypotheses
from habla_ml.transcription.serving_profiles import build_served_options
from habla_ml_tests.testing.released_models import make_review_settings
from habla_ml_tests.testing.simulated_hypotheses import TEST_PROVENANCE
from habla_ml_tests.testing.training_snapshot import SENTENCES, TrainingClipSpec, publish_snapshot


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_review_settings(tmp_path)


@pytest.fixture
def speech(lake: Lake, settings: Settings) -> TestSpeech:
    clips = [TrainingClipSpec(f"segment-{at:03}", "test", SENTENCES[at % 4], 1.0) for at in range(6)]
    lake.move_pointer("splits/latest", {"snapshot": publish_snapshot(lake, clips).id}, None)
    return load_test_speech("test", lake, settings)


def add_version(lake: Lake, version: str, artefact: str) -> None:
    export = {"tree": artefact, "checkpoint": "c" * 64, "size_bytes": 1, "mended": []}
    lake.move_pointer(f"models/{version}/ctranslate2", export, None)
    lake.move_pointer(f"models/{version}/report", {}, None)


def cache(lake: Lake, settings: Settings, artefact: str, utterances: list[Utterance], lost: int = 0) -> None:
    """Write hypotheses as if the model had lost the first `lost` words of every utterance."""
    texts = {each.audio_sha256: " ".join(each.sentence.split()[lost:]) for each in utterances}
    found = {sound: Hypothesis(sound, text, 0.1, 1.0, None) for sound, text in texts.items()}
    save_hypotheses(lake, artefact, build_served_options(settings.evaluation), found)


@pytest.mark.long
def test_new_segments_are_decoded_with_the_served_model_and_known_ones_are_not(
    lake: Lake, settings: Settings, speech: TestSpeech, artefact: Path
) -> None:
    utterances = list(speech.read())
    tree = lake.put_tree(artefact)
    add_version(lake, "v1", tree)
    cache(lake, settings, tree, utterances[:-1], 1)
    add_version(lake, "v2", "2" * 64)  # its files are gone, but all of its hypotheses are known
    cache(lake, settings, "2" * 64, utterances)
    add_version(lake, "v3", "3" * 64)
    cache(lake, settings, "3" * 64, utterances[:-1])
    lake.move_pointer("models/v4/report", {}, None)
    add_version(lake, "v5", "5" * 64)
    lake.move_pointer("models/v5/ctranslate2", {"tree": "5" * 64}, lake.read_pointer("models/v5/ctranslate2"))
    lines: list[str] = []
    found = rescore_versions(lake, settings, speech, ["v9"], lines.append)
    assert [(each.name, each.artefact_digest) for each in found.scores] == [("v1", tree), ("v2", "2" * 64)]
    assert found.newly_decoded == 1
    assert len(read_hypotheses(lake, tree, build_served_options(settings.evaluation))) == 6
    assert "version 1 of 5, v1: 1 of 6 test clips are new to it and are decoded" in lines
    assert [line.split(":")[0] for line in lines if "not scored" in line] == [
        "v3 is not scored again",
        "v4 is not scored again",
        "v5 is not scored again",
    ]
    assert found.scores[1].interval is not None
    assert found.scores[1].interval.value == 0
    again = rescore_versions(lake, settings, speech, ["v9"], lines.append)
    assert (again.scores, again.newly_decoded) == (found.scores, 0)


def test_a_version_has_the_figures_of_a_candidate_on_the_same_test_set(
    lake: Lake, settings: Settings, speech: TestSpeech
) -> None:
    utterances = list(speech.read())
    for at, version in enumerate(("v1", "v2", "v10")):
        add_version(lake, version, str(at) * 64)
        cache(lake, settings, str(at) * 64, utterances, at)
    options = build_served_options(settings.evaluation)

    def compare(role, artefact: str):
        hypotheses = list(read_hypotheses(lake, artefact, options).values())
        model = DecodedModel("v2", role, artefact, options, hypotheses)
        return compare_decoded_models(utterances, [model], settings.evaluation, TEST_PROVENANCE)

    (expected,) = list_version_scores(compare("candidate", "1" * 64))
    scores = rescore_versions(lake, settings, speech, ["v10"], print).scores
    assert scores[1] == expected
    newest = compare("base", "1" * 64).model_copy(update={"versions": scores})
    assert [name for name, _ in ReportContent(newest).history] == ["v1", "v2"]


def test_the_settings_choose_the_versions_and_replicates_are_never_among_them(lake: Lake, settings: Settings) -> None:
    for version in ("v10", "v2", "v1", "v2-s2", "v1-p50"):
        add_version(lake, version, "1" * 64)
    evaluation = settings.evaluation
    assert list_versions_to_rescore(lake, evaluation, ["v1"]) == ["v2", "v10"]
    chosen = evaluation.model_copy(update={"rescored_versions": ("v1", "v3")})
    assert list_versions_to_rescore(lake, chosen, []) == ["v1"]
    assert list_versions_to_rescore(lake, evaluation.model_copy(update={"rescored_versions": ()}), []) == []
