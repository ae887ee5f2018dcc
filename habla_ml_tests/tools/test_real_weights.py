"""OpenAI's real whisper-base: fetched, converted without loss, trained, and in every format of a release."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import HablaError
from habla_ml.evaluation.scoring.alignment import compute_corpus_wer
from habla_ml.export.registry import EXPORTERS, find_exporter
from habla_ml.training.recipe import Recipe, Windows
from habla_ml.training.targets import TargetEncoder
from habla_ml.transcription.engine import load_engine_class
from habla_ml.transcription.options import DecodingOptions
from habla_ml_tests.testing.export_checkpoint import export_checkpoint
from habla_ml_tests.testing.real_weights import FOLDER, find_whisper_base
from habla_ml_tests.testing.simulated_hypotheses import make_utterance
from habla_ml_tests.testing.training_deployment import TrainingDeployment
from tools.base_model.training_clips import synthesize_castilian_sentence
from tools.real_weights.convert import map_variables, read_variables
from tools.real_weights.digits import score_digits
from tools.real_weights.fetch import fetch_whisper_base
from tools.real_weights.prepare import CTRANSLATE2_FOLDER
from tools.real_weights.summary import render_summary

ENGINES = {"ctranslate2": "faster-whisper", "ggml": "whisper.cpp", "onnx": "onnx"}
"""Format of a release → the engine that executes its files here. `transformers` is decoded as the reference. Core ML needs 33 s
of CPU time and has the modules of ONNX; `make real` converts and decodes it."""
QUANTISATIONS = {"onnx": "float32"}
"""Where another type is faster to convert than the first one."""


def test_a_file_with_another_sha256_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(HablaError, match=r"config\.json has sha256 44136fa.*expected 00; delete"):
        fetch_whisper_base(tmp_path, print, {"config.json": "00"})


def write_variables(path: Path, spec: bytes, *variables: tuple[str, np.ndarray], tail: bytes = b"") -> Path:
    """Write a `model.bin` of CTranslate2 by hand, in float16."""
    parts = [struct.pack("<IH", 6, len(spec) + 1), spec, b"\0", struct.pack("<II", 3, len(variables))]
    for name, value in variables:
        parts += [struct.pack("<H", len(name) + 1), name.encode(), b"\0", struct.pack("<B", value.ndim)]
        parts += [struct.pack(f"<{value.ndim}I", *value.shape), struct.pack("<BI", 4, value.nbytes), value.tobytes()]
    path.write_bytes(b"".join([*parts, struct.pack("<I", 0), tail]))
    return path


def test_stacked_projections_get_their_names_and_the_key_has_no_bias(tmp_path: Path) -> None:
    stacked, bias = np.arange(6, dtype=np.float16).reshape(6, 1), np.array([1, 2, 0, 0, 5, 6], np.float16)
    path = write_variables(
        tmp_path / "model.bin",
        b"WhisperSpec",
        ("encoder/layer_3/self_attention/linear_0/weight", stacked),
        ("encoder/layer_3/self_attention/linear_0/bias", bias),
        ("decoder/layer_0/attention/linear_1/weight", stacked[:4]),
    )
    found = {name: value.ravel().tolist() for name, value in map_variables(read_variables(path)).items()}
    assert found == {
        "model.encoder.layers.3.self_attn.q_proj.weight": [0, 1],
        "model.encoder.layers.3.self_attn.k_proj.weight": [2, 3],
        "model.encoder.layers.3.self_attn.v_proj.weight": [4, 5],
        "model.encoder.layers.3.self_attn.q_proj.bias": [1, 2],
        "model.encoder.layers.3.self_attn.v_proj.bias": [5, 6],
        "model.decoder.layers.0.encoder_attn.k_proj.weight": [0, 1],
        "model.decoder.layers.0.encoder_attn.v_proj.weight": [2, 3],
    }


def test_another_file_is_refused(tmp_path: Path) -> None:
    one = np.ones(3, np.float16)
    path = tmp_path / "model.bin"
    for spec, variable, tail, message in (
        (b"MarianSpec", "encoder/conv1/bias", b"", "specification MarianSpec, expected WhisperSpec"),
        (b"WhisperSpec", "encoder/conv1/bias", b"x", "bytes after its last variable"),
        (b"WhisperSpec", "encoder/conv3/bias", b"", "variable encoder/conv3/bias of shape .* is unknown"),
        (b"WhisperSpec", "encoder/layer_0/self_attention/linear_0/bias", b"", "has a bias, and Whisper has none"),
    ):
        with pytest.raises(HablaError, match=message):
            map_variables(read_variables(write_variables(path, spec, (variable, one), tail=tail)))


def test_digits_are_read_as_words_and_still_shown() -> None:
    found = score_digits("base", ["veinte menos dos", "son dos"], ["20 menos 2.", "son tres"])
    assert (found.clips, found.clips_with_digits, found.wer, found.wer_as_written) == (2, 1, 1 / 5, 3 / 5)
    assert [each.read_as for each in found.examples] == ["veinte menos dos"]


def test_the_summary_has_both_prompts_and_says_what_was_not_run() -> None:
    prompt = {"model": "v1", "speech": "classroom", "timestamps": True, "clips": 40, "words": 300, "wer": 0.069}
    prompt |= {"interval": {"low": 0.05, "value": 0.069, "high": 0.09}, "end_error_s": 0.934, "late_ends": 24}
    model = {"model": "base", "wer": 0.791, "wer_interval": [0.71, 0.879], "metrics": {"cer": [0.4, 0.3, 0.5]}}
    model |= {"silent_clips": 60, "silent_clips_with_text": 6, "word_time_error_ms": 74.2, "timed_words": 200}
    figures = {
        "test": {"clips": 167, "sessions": 20, "words": 1300},
        "models": [model, {**model, "model": "v1", "wer_interval": None, "silent_clips": None}],
        "prompts": [prompt, {**prompt, "timestamps": False, "end_error_s": None, "late_ends": None}],
        "digits": [{"model": "base", "clips": 167, "clips_with_digits": 30, "wer": 0.791, "wer_as_written": 0.85}],
        "parity_int8": None,
        "formats": [],
        "skipped_formats": [{"format": "ggml", "reason": "pywhispercpp is not installed"}],
        "whisperx": {"clips": 10, "models": {"base": {"wer": 0.8}, "v1": {"wer": 0.1}}},
        "profiles": [{"profile": "phone", "wer": 0.12, "empty": 1}],
        "seconds": {"figures": 12.3},
        "steps": 150,
        "is_quick": True,
        "is_released": False,
        "hardware": "2 cores",
        "report": "report.html",
    }
    lines = render_summary(figures).splitlines()
    assert "Made with `--quick`: these figures are no result." in lines
    assert "| WER, classroom | 79.1 % (71.0–87.9) | 79.1 % |" in lines
    assert "| silent clips with text | 6 of 60 | – |" in lines
    assert "| v1 | classroom | yes | 40 | 6.9 % (5.0–9.0) | 0.93 s | 24 |" in lines
    assert "| v1 | classroom | no | 40 | 6.9 % (5.0–9.0) | – | – |" in lines
    assert "| base | 30 of 167 | 79.1 % | 85.0 % |" in lines
    assert "| phone | 12.0 % | 1 |" in lines
    assert {"WER on 10 clips: base 80.0 %, v1 10.0 %.", "ggml: pywhispercpp is not installed"} <= set(lines)
    skipped = render_summary({**figures, "whisperx": {"skipped": "WhisperX was not run"}})
    assert "\nWhisperX was not run.\n" in skipped


@pytest.fixture(scope="module")
def whisper_base() -> Path:
    return find_whisper_base()


@pytest.fixture(scope="module")
def spoken() -> Utterance:
    """Return a Castilian sentence that whisper-base nearly recognises."""
    rng = np.random.default_rng(7)
    *_, (text, pcm) = (synthesize_castilian_sentence(rng) for _ in range(7))
    audio = (pcm / 32768).astype(np.float32)
    digest = hashlib.sha256(audio.tobytes()).hexdigest()
    return make_utterance("6", "s", text, duration_s=len(audio) / 16_000, audio_sha256=digest, audio=audio)


def decode(engine: str, folder: Path, clip: Utterance) -> list[str]:
    options = DecodingOptions(engine=engine, beam_size=1, no_speech_threshold=None, log_prob_threshold=None)
    return [each.text for each in load_engine_class(engine)(folder, options, "cpu", 1).transcribe([clip])]


@pytest.fixture(scope="module")
def base_texts(whisper_base: Path, spoken: Utterance) -> list[str]:
    return decode("transformers", whisper_base, spoken)


@pytest.fixture(scope="module")
def tuned(whisper_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint after two steps of the product's own training process."""
    recipe = Recipe(
        name="two-steps",
        base_model=str(whisper_base),
        parts="encoder",
        learning_rate=1e-6,
        max_steps=2,
        batch_s=8,
        windows=Windows(full_share=0),
        evaluate_every_steps=2,
        validation_clips=1,
        precision="fp32",
    )
    deployment = TrainingDeployment(tmp_path_factory.mktemp("tuned") / "deployment", recipe)
    done = deployment.run("v1")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = deployment.folder / "checkpoint"
    deployment.lake.checkout_tree(deployment.record("v1").tree, folder)
    return folder


@pytest.mark.slow
def test_the_conversion_to_transformers_loses_no_bit(whisper_base: Path, tmp_path: Path) -> None:
    exporter = find_exporter("ctranslate2")
    assert exporter is not None
    back = read_variables(export_checkpoint(exporter, whisper_base, tmp_path, "float16").path / "model.bin")
    published = read_variables(FOLDER / CTRANSLATE2_FOLDER / "model.bin")
    assert len(map_variables(published)) == 245
    assert [name for name, value in published.items() if not np.array_equal(value, back[name])] == []


@pytest.mark.slow
def test_the_first_token_of_a_target_is_the_one_that_whisper_expects(whisper_base: Path, spoken: Utterance) -> None:
    """Its texts begin with a space; without it the first token is several hundred times less probable."""
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperTokenizer

    tokenizer = WhisperTokenizer.from_pretrained(whisper_base)
    targets, clip = TargetEncoder(tokenizer), spoken
    labels = targets.encode(clip.sentence)
    assert tokenizer.decode(targets.pieces(labels)) == f" {clip.sentence}"
    assert targets.decode(labels) == clip.sentence
    model = WhisperForConditionalGeneration.from_pretrained(whisper_base).eval()
    features = WhisperFeatureExtractor.from_pretrained(whisper_base)(
        clip.audio, sampling_rate=16_000, return_tensors="pt"
    ).input_features
    prompt = torch.tensor([[targets.start_id, *labels[:3]]])
    with torch.inference_mode():
        logs = model(input_features=features, decoder_input_ids=prompt).logits[0, -1].log_softmax(-1)
    bare = tokenizer.encode(clip.sentence, add_special_tokens=False)
    assert logs[labels[3]] > logs[bare[0]] + 3


@pytest.mark.slow
def test_two_steps_change_the_encoder_and_keep_the_texts(
    whisper_base: Path, tuned: Path, spoken: Utterance, base_texts: list[str]
) -> None:
    from safetensors.torch import load_file

    before, after = (load_file(folder / "model.safetensors") for folder in (whisper_base, tuned))
    changed = {name.split(".")[1] for name, value in after.items() if not value.equal(before[name])}
    assert changed == {"encoder"}
    found = decode("transformers", tuned, spoken)
    assert compute_corpus_wer(base_texts, found) <= 0.15, (base_texts, found)


def test_every_format_is_tried() -> None:
    assert {each.name for each in EXPORTERS} == {*ENGINES, "transformers", "coreml"}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ENGINES))
def test_every_format_writes_nearly_the_text_of_the_base(
    name: str, tuned: Path, spoken: Utterance, base_texts: list[str], tmp_path: Path
) -> None:
    exporter = find_exporter(name)
    assert exporter is not None
    made = export_checkpoint(exporter, tuned, tmp_path, QUANTISATIONS.get(name))
    found = decode(ENGINES[name], made.path, spoken)
    assert compute_corpus_wer(base_texts, found) <= 0.3, (base_texts, found)
