from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import WhisperTokenizer

from habla_ml.audio import quantise
from habla_ml.corpus.snapshot import Utterance
from habla_ml.training.clips import ClipLoader, NonSpeech, select_sample, select_session_share, write_clips
from habla_ml.training.schedule import ClipUse
from habla_ml.training.targets import TargetEncoder
from habla_ml_tests.testing.base_model import BASE_MODEL


@pytest.fixture(scope="module")
def targets() -> TargetEncoder:
    return TargetEncoder(WhisperTokenizer.from_pretrained(BASE_MODEL))


def make_utterance(name: str, n_samples: int, sentence: str = "hola") -> Utterance:
    rng = np.random.default_rng(list(name.encode()))
    pcm = rng.integers(-32768, 32767, n_samples, endpoint=True)
    return Utterance(
        segment_id=name,
        session_id="s",
        speaker="A",
        sentence=sentence,
        duration_s=n_samples / 16_000,
        loudness_dbfs=-20.0,
        audio_sha256="0" * 64,
        audio=(pcm / 32768).astype(np.float32),
    )


def test_16_bit_audio_and_labels_are_read_back_exactly(targets: TargetEncoder, tmp_path: Path) -> None:
    utterances = [make_utterance("a", 16_000, "hola"), make_utterance("b", 8_000, "adiós, niños")]
    clips = write_clips(utterances, targets, tmp_path / "clips")
    assert len(clips) == 2
    assert clips.durations_s.tolist() == [1.0, 0.5]
    for index, each in enumerate(utterances):
        assert np.array_equal(clips.audio(index), each.audio)
        assert clips.label_ids(index) == list(targets.encode(each.sentence))


def test_unusable_utterances_are_skipped_and_counted_by_reason(targets: TargetEncoder, tmp_path: Path) -> None:
    utterances = [
        make_utterance("good", 16_000),
        make_utterance("long", 30 * 16_000 + 1),
        make_utterance("limit", 30 * 16_000),
        make_utterance("mute", 0),
        make_utterance("blank", 100, " "),
        make_utterance("talkative", 100, "7" * 500),
        make_utterance("more talkative", 100, "7" * 600),
    ]
    clips = write_clips(utterances, targets, tmp_path / "clips")
    assert len(clips) == 2
    assert dict(clips.skipped) == {
        "clip above 30 s": 1,
        "clip without samples": 1,
        "empty sentence": 1,
        "sentence needs more than 448 positions": 2,
    }


def test_an_existing_store_is_opened_and_a_partial_one_is_rewritten(targets: TargetEncoder, tmp_path: Path) -> None:
    partial = tmp_path / "clips.partial"
    partial.mkdir()
    (partial / "samples.i16").write_bytes(b"half")
    first = write_clips([make_utterance("a", 100)], targets, tmp_path / "clips")
    assert not partial.exists()
    assert len(write_clips([make_utterance("b", 200), make_utterance("c", 200)], targets, tmp_path / "clips")) == len(
        first
    )


def test_a_store_can_be_empty(targets: TargetEncoder, tmp_path: Path) -> None:
    assert len(write_clips([], targets, tmp_path / "clips")) == 0


def test_a_share_of_the_clips_is_non_speech_with_annotated_ones_first(targets: TargetEncoder, tmp_path: Path) -> None:
    utterances = [make_utterance(f"u{index}", 1_000) for index in range(18)]
    marked = np.arange(400, dtype=np.int16)
    clips = write_clips(utterances, targets, tmp_path / "clips", NonSpeech(0.1, 5, [marked]))
    again = write_clips(utterances, targets, tmp_path / "again", NonSpeech(0.1, 5, [marked]))
    other = write_clips(utterances, targets, tmp_path / "other", NonSpeech(0.1, 6, [marked]))
    assert (len(clips), clips.n_speech) == (20, 18)
    assert clips.speech_hours == pytest.approx(18 * 1_000 / 16_000 / 3_600)
    assert np.array_equal(quantise(clips.audio(18)), marked)
    assert 0.3 <= clips.durations_s[19] <= 10
    assert all(clips.label_ids(each)[:3] == list(targets.encode_silence())[:3] for each in (18, 19))
    assert np.array_equal(clips.samples, again.samples)
    assert np.array_equal(clips.labels, again.labels)
    assert clips.durations_s[19] != other.durations_s[19]


@pytest.mark.slow
def test_half_of_the_non_speech_clips_have_a_random_token_before_the_end(
    targets: TargetEncoder, tmp_path: Path
) -> None:
    drawn = [guess for _, guess in NonSpeech(0.9, 1).clips(30, targets.n_pieces)]
    guessed = [each for each in drawn if each is not None]
    assert len(drawn) == 270
    assert 100 < len(guessed) < 170
    assert max(guessed) < targets.end_id
    assert len(set(guessed)) > 60


def test_a_smaller_share_of_the_sessions_is_a_subset_of_a_larger_one(targets: TargetEncoder) -> None:
    utterances = [replace(make_utterance(f"u{index}", 10), session_id=f"s{index % 200}") for index in range(400)]
    parts = [{each.segment_id for each in select_session_share(utterances, share)} for share in (0.25, 0.5, 1.0)]
    assert parts[0] < parts[1] < parts[2]
    assert len(parts[2]) == 400
    assert 0.15 < len(parts[0]) / 400 < 0.35
    assert 0.4 < len(parts[1]) / 400 < 0.6
    assert all((f"u{index}" in parts[1]) == (f"u{index + 200}" in parts[1]) for index in range(200))


def test_the_validation_sample_does_not_depend_on_order(targets: TargetEncoder) -> None:
    utterances = [make_utterance(f"u{index}", 10) for index in range(50)]
    chosen = [each.segment_id for each in select_sample(utterances, 8)]
    assert chosen == [each.segment_id for each in select_sample(utterances[::-1], 8)]
    assert len(set(chosen)) == 8
    assert len(list(select_sample(utterances, 80))) == 50


def test_a_batch_has_audio_of_the_window_and_padded_labels(targets: TargetEncoder, tmp_path: Path) -> None:
    clips = write_clips([make_utterance("a", 16_000), make_utterance("b", 8_000, "adiós")], targets, tmp_path / "clips")
    loader = ClipLoader(clips, targets)
    batch = loader.collate([loader[ClipUse(clip, 300, 0)] for clip in (0, 1)])
    assert batch["audio"].shape == (2, 48_000)
    assert np.array_equal(batch["audio"][1, :8_000].numpy(), clips.audio(1))
    assert not batch["audio"][1, 8_000:].any()
    assert batch["labels"].shape == batch["decoder_input_ids"].shape
    assert batch["decoder_input_ids"][:, 0].tolist() == [targets.start_id] * 2


def test_a_part_of_a_store_is_its_first_clips(targets: TargetEncoder, tmp_path: Path) -> None:
    clips = write_clips([make_utterance(name, 100) for name in "abc"], targets, tmp_path / "clips", NonSpeech(0.25, 5))
    part = clips.take(2)
    assert (len(part), part.n_speech, len(clips.take(9)), clips.take(9).n_speech) == (2, 2, 4, 3)
    assert part.label_ids(1) == clips.label_ids(1)
    assert part.speech_hours == pytest.approx(200 / 16_000 / 3_600)
