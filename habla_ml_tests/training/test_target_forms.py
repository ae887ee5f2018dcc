from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import WhisperTokenizer

from habla_ml.corpus.snapshot import Utterance
from habla_ml.demo.synthetic_speakers import make_andalusian_classroom, synthesize_utterance
from habla_ml.errors import TrainingError
from habla_ml.training.augmentation import Augmentation, Speed
from habla_ml.training.clips import ClipLoader, ClipStore, NonSpeech, build_training_loader, write_clips
from habla_ml.training.recipe import Recipe
from habla_ml.training.schedule import ClipUse
from habla_ml.training.speech_bounds import find_speech_bounds
from habla_ml.training.target_forms import MAX_PROMPT_PIECES, TargetMix
from habla_ml.training.targets import IGNORED_LABEL, TargetEncoder
from habla_ml_tests.testing.base_model import BASE_MODEL

BOTH = TargetMix(7, timestamps_share=1.0, previous_text_share=1.0)


@pytest.fixture(scope="module")
def tokenizer() -> WhisperTokenizer:
    return WhisperTokenizer.from_pretrained(BASE_MODEL)


@pytest.fixture(scope="module")
def targets(tokenizer: WhisperTokenizer) -> TargetEncoder:
    return TargetEncoder(tokenizer)


@pytest.fixture(scope="module")
def speech() -> list[Utterance]:
    """Return three recorded sentences of one session, and a fourth of another."""
    classroom, rng = make_andalusian_classroom(3), np.random.default_rng(5)
    found = []
    for number in range(4):
        spoken = synthesize_utterance(classroom.teacher, classroom.room, rng, quiet=number == 1)
        found.append(
            Utterance(
                segment_id=f"segment-{number}",
                session_id="a" if number < 3 else "b",
                speaker="A",
                sentence=f"frase {number}",
                duration_s=spoken.duration_s,
                loudness_dbfs=-20.0,
                audio_sha256="0" * 64,
                source="habla",
                audio=(spoken.pcm / 32768).astype(np.float32),
            )
        )
    return found


def write(
    utterances: list[Utterance], targets: TargetEncoder, folder: Path, mix: TargetMix = BOTH, silent_share: float = 0.2
) -> ClipStore:
    return write_clips(utterances, targets, folder / "clips", NonSpeech(silent_share, 5), mix)


@pytest.mark.long
def test_bounds_are_near_the_true_start_and_end_of_the_words() -> None:
    classroom, rng = make_andalusian_classroom(11), np.random.default_rng(2)
    errors_s = []
    for _ in range(24):
        spoken = synthesize_utterance(classroom.students[0], classroom.room, rng)
        bounds = find_speech_bounds((spoken.pcm / 32768).astype(np.float32))
        assert bounds is not None
        if spoken.words:
            errors_s.append((bounds.start_s - spoken.words[0].start_s, bounds.end_s - spoken.words[-1].end_s))
    assert len(errors_s) > 4
    assert np.abs(errors_s).mean(axis=0) == pytest.approx(0.0, abs=0.06)
    assert np.abs(errors_s).max() < 0.2


@pytest.mark.parametrize("n_samples", [0, 100, 32_000])
def test_a_clip_without_detected_speech_has_no_bounds(n_samples: int) -> None:
    quiet = 0.001 * np.random.default_rng(1).standard_normal(n_samples).astype(np.float32)
    assert find_speech_bounds(quiet) is None
    assert find_speech_bounds(np.zeros(n_samples, np.float32)) is None


def test_the_timed_form_has_the_bounds_and_the_usual_text(
    tokenizer: WhisperTokenizer, targets: TargetEncoder, speech: list[Utterance], tmp_path: Path
) -> None:
    clips = write(speech, targets, tmp_path)
    loader = ClipLoader(clips, targets, mix=TargetMix(7, timestamps_share=1.0))
    for clip, utterance in enumerate(speech):
        found = find_speech_bounds(clips.audio(clip))
        assert found is not None
        target = loader[ClipUse(clip, 3000, 0)].target
        start, end = (f"<|{round(each * 50) / 50:.2f}|>" for each in found)
        raw = tokenizer.convert_ids_to_tokens(target.labels)
        assert raw[:3] == ["<|es|>", "<|transcribe|>", start]
        assert raw[-2:] == [end, "<|endoftext|>"]
        assert tokenizer.decode(target.labels[3:-2]) == utterance.sentence
        assert target.prompt == []


def test_the_times_of_a_faster_use_are_earlier(
    tokenizer: WhisperTokenizer, targets: TargetEncoder, speech: list[Utterance], tmp_path: Path
) -> None:
    recipe = Recipe(
        name="fast",
        base_model="package:demo/base_model",
        learning_rate=1e-3,
        max_steps=1,
        timestamps_share=1.0,
        augmentation=Augmentation(speed=Speed(probability=1.0, factor=(1.1, 1.1))),
    )
    clips = write(speech, targets, tmp_path)
    loader = build_training_loader(clips, targets, recipe, 80)
    times = []
    for clip in range(4):
        sample = loader[ClipUse(clip, 3000, 0)]
        measured = find_speech_bounds(sample.audio)
        assert measured is not None
        written = [sample.target.labels[2], sample.target.labels[-2]]
        times.append([each - tokenizer.get_vocab()["<|0.00|>"] for each in written] + [50 * each for each in measured])
    found = np.array(times)
    assert found[:, :2] == pytest.approx(found[:, 2:], abs=6)
    assert clips.forms is not None
    assert (found[:, 1] < clips.forms.bounds[:4, 1]).all()


def test_silence_with_timestamps_ends_after_a_first_timestamp(
    tokenizer: WhisperTokenizer, targets: TargetEncoder, speech: list[Utterance], tmp_path: Path
) -> None:
    loader = ClipLoader(write(speech, targets, tmp_path), targets, mix=TargetMix(7, timestamps_share=1.0))
    target = loader[ClipUse(4, 3000, 0)].target
    zero = tokenizer.get_vocab()["<|0.00|>"]
    usual = loader.clips.label_ids(4)
    assert target.labels == [usual[0], IGNORED_LABEL, zero, *usual[3:]]
    inputs = targets.pad([target.labels]).decoder_input_ids[0]
    assert tokenizer.convert_ids_to_tokens(inputs[:4].tolist()) == [
        "<|startoftranscript|>",
        "<|es|>",
        "<|transcribe|>",
        "<|0.00|>",
    ]


def test_the_previous_text_precedes_the_start_token_without_loss(
    tokenizer: WhisperTokenizer, targets: TargetEncoder, speech: list[Utterance], tmp_path: Path
) -> None:
    loader = ClipLoader(write(speech, targets, tmp_path), targets, mix=TargetMix(7, previous_text_share=1.0))
    batch = loader.collate([loader[ClipUse(clip, 1000, 0)] for clip in range(5)])
    inputs, labels = batch["decoder_input_ids"].numpy(), batch["labels"].numpy()
    before = tokenizer.encode("frase 0", add_special_tokens=False)
    opening = [tokenizer.get_vocab()["<|startofprev|>"], *before, targets.start_id]
    assert inputs[1, : len(opening)].tolist() == opening
    assert (labels[1, : len(before) + 1] == IGNORED_LABEL).all()
    usual = targets.encode("frase 1")
    assert labels[1, len(before) + 1 :][: len(usual)].tolist() == list(usual)
    assert inputs[1, len(opening) : len(opening) + len(usual) - 1].tolist() == list(usual[:-1])
    firsts = [tokenizer.convert_ids_to_tokens(int(each)) for each in inputs[:, 0]]
    # The first segment of a session has none before it, nor has a sound without speech.
    assert firsts == ["<|startoftranscript|>", *["<|startofprev|>"] * 2, *["<|startoftranscript|>"] * 2]


def test_general_speech_has_no_previous_text(targets: TargetEncoder, speech: list[Utterance], tmp_path: Path) -> None:
    clips = write([replace(each, source="") for each in speech], targets, tmp_path)
    assert clips.forms is not None
    assert (clips.forms.previous == -1).all()


def test_a_prompt_is_cut_to_whispers_223_tokens_and_to_the_free_positions(
    targets: TargetEncoder, speech: list[Utterance], tmp_path: Path
) -> None:
    sentences = ["7" * 400, "8" * 300, "9"]
    long = [replace(each, sentence=text) for each, text in zip(speech, sentences, strict=False)]
    clips = write(long, targets, tmp_path)
    loader = ClipLoader(clips, targets, mix=TargetMix(7, previous_text_share=1.0))
    found = [loader[ClipUse(clip, 3000, 0)].target for clip in range(3)]
    assert len(found[2].prompt) == MAX_PROMPT_PIECES
    assert len(found[1].prompt) + len(found[1].labels) + 1 == 448
    for each, most in zip(found, clips.label_counts, strict=False):
        assert targets.pad([each.labels], [each.prompt]).labels.shape[1] <= min(448, most)


def test_forms_alternate_between_passes_by_their_share_whatever_the_order() -> None:
    mix = TargetMix(3, timestamps_share=0.25)
    passes = np.array([[mix.has_timestamps(ClipUse(clip, 0, each)) for each in range(8)] for clip in range(200)])
    assert (passes.sum(axis=1) == 2).all()
    assert (passes[:, :4] == passes[:, 4:]).all()
    assert 30 <= passes[:, 0].sum() <= 70
    other = [TargetMix(4, 0.25).has_timestamps(ClipUse(clip, 0, 0)) for clip in range(200)]
    assert other != passes[:, 0].tolist()
    assert not TargetMix(3).has_timestamps(ClipUse(1, 0, 0))


def test_a_usual_recipe_stores_no_forms_and_a_share_of_0_uses_none(
    targets: TargetEncoder, speech: list[Utterance], tmp_path: Path
) -> None:
    usual = write_clips(speech, targets, tmp_path / "usual")
    assert usual.forms is None
    loader = ClipLoader(write(speech, targets, tmp_path), targets)
    assert loader[ClipUse(1, 1000, 0)].target.labels == list(targets.encode("frase 1"))


def test_a_tokenizer_without_the_needed_tokens_is_refused_before_any_clip(tmp_path: Path) -> None:
    known = ("<|es|>", "<|transcribe|>", "<|notimestamps|>", "<|startoftranscript|>", "<|endoftext|>", "<|0.00|>")
    plain = TargetEncoder(WhisperTokenizer(vocab={token: index for index, token in enumerate(known)}, merges=[]))
    with pytest.raises(TrainingError, match="timestamps_share to 0 in the recipe, or add them"):
        write_clips([], plain, tmp_path / "timed", mix=TargetMix(1, timestamps_share=0.1))
    with pytest.raises(TrainingError, match="previous_text_share to 0"):
        write_clips([], plain, tmp_path / "prompted", mix=TargetMix(1, previous_text_share=0.1))
    assert not (tmp_path / "timed").exists()
