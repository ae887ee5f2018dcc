"""Files and training of the base model, from the tokenizer to hypotheses of faster-whisper."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from faster_whisper.transcribe import get_suppressed_tokens
from tokenizers import Tokenizer
from transformers import AutoProcessor, WhisperForConditionalGeneration

import habla_ml.demo
from habla_ml.audio import pcm_sha256
from habla_ml.demo.grammar import SpeechRegister, generate_sentence
from habla_ml.errors import TrainingError
from habla_ml.evaluation.metrics.non_speech import make_built_in_clips
from habla_ml.transcription.options import DecodingOptions
from habla_ml.transcription.whisper_output import build_whisper_tokenizer
from tools.base_model.architecture import create_base_model, load_base_model, save_base_model, set_timestamps
from tools.base_model.measure import (
    find_non_speech_output,
    load_served_model,
    measure_omissions,
    measure_word_error_rate,
    synthesize_classroom_utterances,
)
from tools.base_model.tokenizer import list_non_speech_token_ids, train_tokenizer
from tools.base_model.train import (
    BaseRecipe,
    BaseTraining,
    encode_window,
    learning_rate_at,
    train_base_tokenizer,
)
from tools.base_model.training_clips import BaseTrainingClip, make_non_speech_clips, make_non_speech_sound

SHIPPED = Path(habla_ml.demo.__file__).parent / "base_model"


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["Los niños han terminado los deberes."] * 10, 270)


@pytest.fixture(scope="module")
def untrained(tokenizer):
    torch.manual_seed(0)
    return create_base_model(tokenizer).eval()


def test_special_tokens_have_whispers_order(tokenizer):
    tokens = ["", "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|zh|>", "<|de|>", "<|es|>"]
    first = tokenizer.convert_tokens_to_ids("")
    assert tokenizer.convert_tokens_to_ids(tokens) == [first + place for place in range(7)]
    # 50256 is the empty string and 50364 is <|0.00|> in the multilingual Whisper
    assert tokenizer.convert_tokens_to_ids("<|notimestamps|>") - first == 50363 - 50256
    assert tokenizer.convert_tokens_to_ids("<|30.00|>") - first == 51864 - 50256
    assert len(tokenizer) - 1 == tokenizer.convert_tokens_to_ids("<|30.00|>")


def test_any_text_survives_the_tokenizer(tokenizer):
    text = "¿Qué hacéis, niños? ¡Ñandú! 日本"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == text


def test_no_piece_of_a_classroom_sentence_is_suppressed_in_decoding():
    pieces = Tokenizer.from_file(str(SHIPPED / "tokenizer.json"))
    decoder = build_whisper_tokenizer(pieces, True, SHIPPED, DecodingOptions())
    suppressed = set(get_suppressed_tokens(decoder, [-1]))
    rng = np.random.default_rng(0)
    for register in (*SpeechRegister,) * 200:
        sentence = generate_sentence(register, rng)
        assert suppressed.isdisjoint(decoder.encode(f" {sentence}")), sentence
    assert suppressed.isdisjoint(decoder.encode(" Voy a ir con Hugo y Lucía."))
    generation = json.loads((SHIPPED / "generation_config.json").read_text())
    assert generation["suppress_tokens"] == list_non_speech_token_ids(load_base_model(SHIPPED)[0])


def test_a_trimmed_encoder_equals_whispers_own_at_thirty_seconds(untrained):
    features = torch.randn(1, 80, 3000)
    with torch.no_grad():
        whole = untrained.model.encoder(features).last_hidden_state
        torch.testing.assert_close(encode_window(untrained, features), whole)
        assert encode_window(untrained, features[..., :400]).shape == (1, 200, 160)


@pytest.mark.long
def test_training_clips_without_speech_differ_from_the_test_clips():
    rng = np.random.default_rng(0)
    made = [make_non_speech_sound(rng) for _ in range(40)]
    levels_dbfs = [20 * np.log10(np.sqrt(np.mean((pcm / 32768.0) ** 2))) for pcm in made if pcm.any()]
    assert -70 < min(levels_dbfs) < -50
    assert -35 < max(levels_dbfs) < -20
    assert len(made) - len(levels_dbfs) < 12, "digital silence is one kind of nine"
    assert {pcm_sha256(pcm) for pcm in made}.isdisjoint(each.audio_sha256 for each in make_built_in_clips())
    assert all(0.3 * 16_000 <= len(pcm) <= 10 * 16_000 for pcm in made)


def test_the_learning_rate_warms_up_and_falls_to_a_twentieth():
    recipe = BaseRecipe(steps=1000, warmup_steps=100, learning_rate=1.0)
    assert learning_rate_at(0, recipe) == pytest.approx(1 / 100)
    assert learning_rate_at(99, recipe) == pytest.approx(1.0)
    assert learning_rate_at(550, recipe) == pytest.approx(0.05 + 0.95 / 2)
    assert learning_rate_at(1000, recipe) == pytest.approx(1 / 20)


@pytest.mark.long
def test_an_interrupted_training_resumes_to_the_same_weights(tmp_path):
    rng = np.random.default_rng(0)
    clips = [BaseTrainingClip("Los niños.", rng.normal(size=(80, 60 + i)).astype(np.float16)) for i in range(8)]

    def train(steps: int, workspace: str) -> dict[str, torch.Tensor]:
        (tmp_path / workspace).mkdir(exist_ok=True)
        recipe = BaseRecipe(n_clips=8, steps=steps, batch_size=2, full_batch_size=1, full_from=2.0)
        training = BaseTraining(recipe, clips, tmp_path / workspace)
        training.run(tmp_path / f"{workspace}_model")
        assert training.step == steps
        return training.model.state_dict()

    straight = train(4, "straight")
    train(2, "cut")
    resumed = train(4, "cut")
    for name, weights in straight.items():
        torch.testing.assert_close(resumed[name], weights, msg=name)


@pytest.mark.long
def test_a_training_on_other_clips_is_not_resumed(tmp_path):
    clips = [BaseTrainingClip("Los niños.", np.zeros((80, 60), dtype=np.float16))]
    recipe = BaseRecipe(n_clips=1, steps=1, batch_size=1, full_batch_size=1, full_from=2.0)
    BaseTraining(recipe, clips, tmp_path).run(tmp_path / "model")
    with pytest.raises(TrainingError, match="2 clips of seed"):
        BaseTraining(replace(recipe, n_clips=2), clips * 2, tmp_path)


def test_timestamps_of_near_times_are_similar_and_other_tokens_keep_their_weights(tokenizer):
    model = create_base_model(tokenizer)
    weights, first = model.model.decoder.embed_tokens.weight.detach(), tokenizer.convert_tokens_to_ids("<|0.00|>")
    before = weights[:first].clone()
    set_timestamps(model, first)
    assert torch.equal(weights[:first], before)
    times = torch.nn.functional.normalize(weights[first:], dim=1)
    assert len(times) == 1501
    assert times[100] @ times[101] > 0.9 > 0.7 > times[100] @ times[150]
    assert float(weights[first:].norm(dim=1).mean()) == pytest.approx(float(before.norm(dim=1).mean()), rel=1e-3)


def test_a_share_of_the_targets_has_the_times_of_the_speech(untrained, tokenizer, tmp_path):
    save_base_model(untrained, tokenizer, tmp_path / "begun")
    mel = np.zeros((80, 60), np.float16)
    timed, not_detected, silent = (
        BaseTrainingClip("Los niños.", mel, (5, 25)), BaseTrainingClip("Los niños.", mel), BaseTrainingClip("", mel)
    )  # fmt: skip

    def write_targets(share: float) -> list[tuple[str, ...]]:
        recipe = BaseRecipe(n_clips=3, steps=1, timestamps_share=share, full_from=2.0)
        training = BaseTraining(recipe, [timed, not_detected, silent], tmp_path / str(share), start=tmp_path / "begun")
        rng = np.random.default_rng(0)
        targets = [training._make_target(clip, rng) for clip in (timed, not_detected, silent)]
        return [tuple(tokenizer.convert_ids_to_tokens(each for each in ids if each >= 0)) for ids in targets]

    spoken, usual, silence = write_targets(1.0)
    assert (spoken[2], spoken[-2]) == ("<|0.10|>", "<|0.50|>")
    assert usual == write_targets(0.0)[0] == (*spoken[:2], "<|notimestamps|>", *spoken[3:-2], spoken[-1])
    assert "<|0.00|>" in silence


@pytest.mark.long
def test_a_continued_model_learns_clips_without_speech(untrained, tokenizer, tmp_path):
    clips = make_non_speech_clips(6, seed=1)
    clips += [BaseTrainingClip("Los niños.", clip.log_mel) for clip in clips[:4]]
    no_speech = tokenizer.convert_tokens_to_ids("<|nospeech|>")
    begun, done = tmp_path / "begun", tmp_path / "done"
    save_base_model(untrained, tokenizer, begun)

    def no_speech_log_probability(folder: Path) -> float:
        model = load_base_model(folder)[1]
        with torch.no_grad():
            hidden = encode_window(model, torch.full((1, 80, 400), -1.5))
            start = torch.tensor([[model.config.decoder_start_token_id]])
            logits = model(encoder_outputs=(hidden,), decoder_input_ids=start).logits
        return float(logits[0, 0].log_softmax(-1)[no_speech])

    recipe = BaseRecipe(
        n_clips=4, steps=10, batch_size=4, full_from=2.0, learning_rate=2e-3, warmup_steps=1, ctc_weight=0.0,
        non_speech_share=1.0,
    )  # fmt: skip
    BaseTraining(recipe, clips, tmp_path, start=begun).run(done)
    assert no_speech_log_probability(done) > no_speech_log_probability(begun) + 1
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "generation_config.json"):
        assert (done / name).read_bytes() == (begun / name).read_bytes(), name
    with pytest.raises(TrainingError, match="use another --workspace"):
        BaseTraining(recipe, clips, tmp_path, start=done)


def test_the_shipped_model_is_small_and_complete():
    sizes = {path.name: path.stat().st_size for path in SHIPPED.iterdir()}
    assert sum(sizes.values()) <= 8_000_000
    assert {
        "model.safetensors", "config.json", "generation_config.json", "preprocessor_config.json",
        "processor_config.json", "tokenizer.json", "tokenizer_config.json", "README.md",
    } <= set(sizes)  # fmt: skip
    generation = json.loads((SHIPPED / "generation_config.json").read_text())
    assert "_from_model_config" not in generation
    assert "forced_decoder_ids" not in generation
    assert len(generation["lang_to_id"]) == 99
    assert generation["is_multilingual"] is True


def test_the_shipped_model_has_whispers_shape_and_its_trainers_tokenizer(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    processor = AutoProcessor.from_pretrained(SHIPPED)
    model = WhisperForConditionalGeneration.from_pretrained(SHIPPED)
    assert (model.config.max_source_positions, model.config.max_target_positions) == (1500, 448)
    assert 1_000_000 < sum(parameter.numel() for parameter in model.parameters()) < 4_000_000
    assert processor.tokenizer.get_vocab() == train_base_tokenizer(BaseRecipe.seed).get_vocab()
    assert processor.feature_extractor.n_samples == 480_000


def test_saving_again_gives_the_same_files(untrained, tokenizer, tmp_path):
    for name in ("one", "two"):
        save_base_model(untrained, tokenizer, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


@pytest.mark.slow
def test_the_shipped_model_recognises_castilian_well_and_andalusian_badly_as_served(tmp_path):
    model = load_served_model(SHIPPED, tmp_path)
    assert model.model.is_multilingual
    rates = {
        (dialect, quiet): measure_word_error_rate(
            model, synthesize_classroom_utterances(42, 7, dialect=dialect, quiet=quiet)
        )
        for dialect, quiet in ((False, False), (True, False), (True, True))
    }
    assert rates[False, False] < 0.15
    assert 0.25 < rates[True, False] < 0.65
    assert rates[True, True] > rates[True, False]


@pytest.mark.slow
def test_the_shipped_model_is_silent_on_most_clips_without_speech_and_omits_few_words_as_served(tmp_path):
    load_served_model(SHIPPED, tmp_path)
    found = find_non_speech_output(tmp_path / "ctranslate2")
    written = [each.clip.clip_id for each in found if each.has_output]
    assert len(written) <= 0.4 * len(found), written
    left = measure_omissions(tmp_path / "ctranslate2", synthesize_classroom_utterances(21, 7, dialect=True, quiet=True))
    assert left.clips_without_output == 0
    assert left.deletions < 0.1 * left.words
