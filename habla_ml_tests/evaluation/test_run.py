"""Model specs, and a real comparison of the shipped base model in several forms on synthetic sentences."""

from __future__ import annotations

import csv
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison.decoding import leave_silence_to_model
from habla_ml.evaluation.comparison.model_spec import parse_model_spec
from habla_ml.evaluation.comparison.records import read_comparison
from habla_ml.evaluation.metrics.non_speech import build_non_speech_set
from habla_ml.evaluation.run import compare_models
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.settings import Settings, load_settings
from habla_ml.transcription.hypothesis_cache import read_hypotheses
from habla_ml.transcription.options import DecodingOptions, HostedOptions
from habla_ml.transcription.serving_profiles import build_profile_options, build_served_options

PROJECT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "recordings").mkdir()
    tree = {
        "work_folder": str(tmp_path / "work"),
        "lake": {"url": str(tmp_path / "lake")},
        "recordings": {"folder": str(tmp_path / "recordings")},
        "corpus": {"conventions": str(PROJECT / "configs/conventions/orthographic-v3.yaml")},
        "training": {"recipe": str(PROJECT / "configs/recipes/demo-full.yaml")},
        "evaluation": {"non_speech_takes": 0, "bootstrap_draws": 200},
        "release": {"store": {"url": str(tmp_path / "cdn")}},
    }
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "here.yaml").write_text(yaml.safe_dump(tree))
    return load_settings(tmp_path / "configs" / "here.yaml", {})


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of eight Castilian sentences by two speakers."""
    from tools.base_model.training_clips import synthesize_castilian_sentence

    rng = np.random.default_rng(11)
    folder = tmp_path / "clips"
    folder.mkdir()
    rows = [("audio_path", "transcript", "speaker")]
    for at in range(8):
        text, pcm = synthesize_castilian_sentence(rng)
        soundfile.write(folder / f"{at}.wav", pcm, 16_000, subtype="PCM_16")
        rows.append((f"{at}.wav", text, ("Ana", "Luis")[at % 2]))
    with (folder / "fine_tune_dataset.csv").open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(rows)
    return folder


def test_a_spec_names_model_engine_options_and_quantisation(settings: Settings) -> None:
    plain = parse_model_spec("v2", settings)
    assert (plain.model, plain.quantisation, plain.decoding) == (
        "v2",
        None,
        build_served_options(settings.evaluation),
    )
    chosen = parse_model_spec("base@faster-whisper-batched, beam_size=1, quantisation=float32", settings)
    assert chosen.decoding == DecodingOptions(engine="faster-whisper-batched", beam_size=1)
    assert chosen.quantisation == "float32"
    assert parse_model_spec("v2@transformers", settings).decoding == DecodingOptions(
        engine="transformers", no_speech_threshold=None, log_prob_threshold=None
    ), "as served, without the options that the engine does not support"
    phone = parse_model_spec("v2,profile=phone,beam_size=2", settings).decoding
    assert phone == build_profile_options("phone", settings.evaluation).model_copy(update={"beam_size": 2})
    for text, model in (("deepgram,model=nova-3", ""), ("v2@deepgram,model=nova-3", "v2")):
        hosted = parse_model_spec(text, settings)
        assert (hosted.model, hosted.decoding) == (model, HostedOptions(engine="deepgram", model="nova-3"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("v2@faster", r"v2@faster is not a valid model spec .*options are batch_size, beam_size"),
        ("v2,beams=3", "beams"),
        ("v2,beam_size", "write key=value"),
        ("v2,quantisation=int3", "int8, int8_float32"),
        ("v2@whisper.cpp,quantisation=int8", "choose one of float16"),
        ("v2@transformers,quantisation=int8", "remove the quantisation"),
        ("", "names no model"),
    ],
)
def test_an_invalid_spec_is_refused_with_the_valid_options(settings: Settings, text: str, reason: str) -> None:
    with pytest.raises(EvaluationError, match=reason):
        parse_model_spec(text, settings)


@pytest.mark.slow
def test_a_comparison_uses_the_clips_without_speech_of_a_release(
    settings: Settings, table: Path, tmp_path: Path
) -> None:
    """Otherwise a version has other figures in a comparison than in its own report."""
    of = settings.evaluation.model_copy(update={"non_speech_takes": 1, "seed": 3})
    settings = settings.model_copy(update={"evaluation": of})
    lake = Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")
    _, found = compare_models(["base", "base,beam_size=1"], str(table), lake, settings, lambda _: None)
    model = found.comparison.models[0]
    assert model.hallucination is not None
    assert model.hallucination.non_speech_digest == build_non_speech_set(of).digest
    assert isinstance(model.decoding, DecodingOptions)
    assert (model.decoding.vad, model.decoding.no_speech_threshold) == (True, None)
    alone = leave_silence_to_model(model.decoding)
    decoded = read_hypotheses(lake, model.artefact_digest, alone)
    assert len(decoded) == 60
    assert 0 < sum(bool(each.text) for each in decoded.values()) <= 30, "without speech detection a few have text"


def test_the_model_decides_alone_on_silence_with_what_its_engine_has() -> None:
    served = DecodingOptions(vad=True, no_speech_threshold=None, log_prob_threshold=None, beam_size=3)
    assert leave_silence_to_model(served) == DecodingOptions(beam_size=3)
    phone = DecodingOptions(engine="whisperkit-rules", beam_size=1, no_speech_threshold=None)
    assert leave_silence_to_model(phone) == phone.model_copy(update={"no_speech_threshold": 0.6})
    hosted = HostedOptions(engine="google")
    assert leave_silence_to_model(hosted) is hosted


@pytest.mark.slow
def test_a_second_comparison_on_a_table_decodes_nothing(settings: Settings, table: Path, tmp_path: Path) -> None:
    lake = Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")
    specs = ["base", "base,beam_size=1", "base,quantisation=float32", "base@whisper.cpp"]
    _, found = compare_models(specs, str(table), lake, settings, lambda _: None)
    comparison = found.comparison
    assert [each.name for each in comparison.models] == specs
    assert [(each.of, each.against) for each in comparison.changes] == [
        (after, before) for before, after in combinations(specs, 2)
    ]
    assert len({each.artefact_digest for each in comparison.models}) == 3
    assert comparison.test.utterances == 8
    assert all(each.wer.value is not None and each.wer.value < 0.6 for each in comparison.models)
    assert read_comparison(lake.get_bytes(found.comparison_object)) == comparison
    page = found.files.html.read_text(encoding="utf-8")
    assert all(each in page for each in specs)
    assert "may have been trained on clips of this table" in page
    assert found.newly_decoded == 4 * 8
    _, again = compare_models(specs, str(table), lake, settings, lambda _: None)
    assert again.newly_decoded == 0
    assert again.comparison_object == found.comparison_object


def test_a_single_model_and_a_missing_table_are_refused(settings: Settings, tmp_path: Path) -> None:
    lake = Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")
    with pytest.raises(EvaluationError, match="at least two models, got 1"):
        compare_models(["base"], "test", lake, settings, print)
    with pytest.raises(EvaluationError, match=r"neither `test`, a day like"):
        compare_models(["base", "v1"], str(tmp_path / "nowhere"), lake, settings, print)
