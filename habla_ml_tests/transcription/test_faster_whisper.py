from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import EvaluationError
from habla_ml.transcription.engine import compute_compression_ratio
from habla_ml.transcription.faster_whisper import FasterWhisper, compute_window_features
from habla_ml.transcription.faster_whisper_batched import FasterWhisperBatched
from habla_ml.transcription.options import DecodingOptions

OPTIONS = DecodingOptions(batch_size=4, max_new_tokens=12, no_speech_threshold=None)


def transcribe_one_by_one(folder: Path, clips: list[Utterance], options: DecodingOptions) -> list[str]:
    """Return the texts of faster-whisper's own `transcribe` on each clip padded with silence to 30 s."""
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), device="cpu", cpu_threads=1)
    texts = []
    for clip in clips:
        padded = np.concatenate([clip.audio, np.zeros(480_000 - len(clip.audio), np.float32)])
        segments, _ = model.transcribe(
            padded,
            language="es",
            beam_size=options.beam_size,
            temperature=0.0,
            without_timestamps=True,
            vad_filter=False,
            condition_on_previous_text=False,
            no_speech_threshold=options.no_speech_threshold,
            max_new_tokens=options.max_new_tokens,
        )
        texts.append("".join(segment.text for segment in segments).strip())
    return texts


@pytest.mark.long
def test_a_batch_gives_the_text_of_one_by_one_decoding(artefact: Path, clips: list[Utterance]) -> None:
    expected = transcribe_one_by_one(artefact, clips, OPTIONS)
    found = FasterWhisper(artefact, OPTIONS, "cpu", 1).transcribe(clips)
    assert [each.text for each in found] == expected
    assert len(set(expected)) > 1, "a model with one text for all clips would prove nothing"
    assert [each.audio_sha256 for each in found] == [each.audio_sha256 for each in clips]
    assert all(each.failure is None and each.decode_s > 0 and each.avg_logprob is not None for each in found)


@pytest.mark.slow
def test_the_shipped_base_model_gives_the_text_of_one_by_one_decoding(
    base_artefact: Path, sentences: list[Utterance]
) -> None:
    options = DecodingOptions(batch_size=6, max_new_tokens=80)
    found = FasterWhisper(base_artefact, options, "cpu", 1).transcribe(sentences)
    assert [each.text for each in found] == transcribe_one_by_one(base_artefact, sentences, options)


def test_the_silence_thresholds_empty_a_text(artefact: Path, clips: list[Utterance]) -> None:
    never_silent = FasterWhisper(artefact, OPTIONS, "cpu", 1).transcribe(clips[:2])
    always = OPTIONS.model_copy(update={"no_speech_threshold": -1.0, "log_prob_threshold": 0.0})
    always_silent = FasterWhisper(artefact, always, "cpu", 1).transcribe(clips[:2])
    assert any(each.text for each in never_silent)
    assert [each.text for each in always_silent] == ["", ""]


def test_a_folder_with_missing_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(EvaluationError, match=r"lacks config\.json, tokenizer\.json, preprocessor_config\.json"):
        FasterWhisper(tmp_path, OPTIONS, "cpu", 1)


def test_errors_name_a_damaged_model_and_an_unknown_language(artefact: Path, damaged_artefact: Path) -> None:
    with pytest.raises(EvaluationError, match="cannot load"):
        FasterWhisper(damaged_artefact, OPTIONS, "cpu", 1)
    with pytest.raises(EvaluationError, match="tlh"):
        FasterWhisper(artefact, OPTIONS.model_copy(update={"language": "tlh"}), "cpu", 1)


@pytest.mark.parametrize("n_samples", [1, 150, 9_999, 16_000, 479_300, 480_000])
def test_features_equal_those_of_the_padded_window(artefact: Path, n_samples: int) -> None:
    model = FasterWhisper(artefact, OPTIONS, "cpu", 1)._model
    for level in (0.0, 0.3):
        audio = np.random.default_rng(n_samples).normal(0, level, n_samples).astype(np.float32)
        padded = np.concatenate([audio, np.zeros(480_000 - n_samples, np.float32)])
        expected = model.feature_extractor(padded)[:, :3000]
        # The matrix product of another number of frames may differ in the last bit.
        np.testing.assert_allclose(compute_window_features(model, audio), expected, rtol=0, atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("engine", [FasterWhisper, FasterWhisperBatched])
def test_word_times_are_ordered_inside_the_clip_and_change_no_text(
    base_artefact: Path, sentences: list[Utterance], engine: type[FasterWhisper | FasterWhisperBatched]
) -> None:
    name = "faster-whisper" if engine is FasterWhisper else "faster-whisper-batched"
    options = DecodingOptions(engine=name)
    plain = engine(base_artefact, options, "cpu", 1).transcribe(sentences[:4])
    timed = engine(base_artefact, options.model_copy(update={"word_times": True}), "cpu", 1).transcribe(sentences[:4])
    assert [each.text for each in timed] == [each.text for each in plain]
    assert all(each.words == () for each in plain)
    for clip, each in zip(sentences, timed, strict=False):
        assert " ".join(word.text for word in each.words) == each.text
        times = [time_s for word in each.words for time_s in (word.start_s, word.end_s)]
        assert times == sorted(times)
        assert (times[0], times[-1]) == pytest.approx((0.0, clip.duration_s), abs=0.8)


@pytest.mark.long
def test_speech_detection_drops_silence_before_the_encoder_and_keeps_times_of_the_clip(
    base_artefact: Path, sentences: list[Utterance]
) -> None:
    silence = np.random.default_rng(1).normal(0, 1e-4, 64_000).astype(np.float32)
    late = replace(
        sentences[0], audio=np.concatenate([silence, sentences[0].audio]), duration_s=sentences[0].duration_s + 4
    )
    empty = replace(sentences[1], audio=silence, duration_s=4.0)
    options = DecodingOptions(vad=True, word_times=True, batch_size=3, no_speech_threshold=None)
    found = FasterWhisper(base_artefact, options, "cpu", 1).transcribe([late, empty, sentences[0]])
    assert [each.text for each in found] == [found[2].text, "", found[2].text]
    assert found[2].text
    assert found[1].avg_logprob is None, "nothing was decoded"
    starts = [[word.start_s for word in each.words] for each in found]
    assert starts[0] == pytest.approx([each + 4 for each in starts[2]], abs=0.5)


@pytest.mark.slow
def test_the_compression_ratio_threshold_empties_a_text(base_artefact: Path, sentences: list[Utterance]) -> None:
    shown = FasterWhisper(base_artefact, DecodingOptions(), "cpu", 1).transcribe(sentences[:6])
    ratios = sorted(each.compression_ratio for each in shown if each.compression_ratio is not None)
    bound = ratios[len(ratios) // 2]
    bounded = DecodingOptions().model_copy(update={"compression_ratio_threshold": bound})
    found = FasterWhisper(base_artefact, bounded, "cpu", 1).transcribe(sentences[:6])
    expected = ["" if (each.compression_ratio or 0) > bound else each.text for each in shown]
    assert [each.text for each in found] == expected
    assert 0 < expected.count("") < 6


def test_the_compression_ratio_equals_whispers() -> None:
    from faster_whisper.transcribe import get_compression_ratio

    for text in ("hola", "no no no no no no no no no no no no", "¿Qué haces, niño?"):
        assert compute_compression_ratio(text) == get_compression_ratio(text)
    assert compute_compression_ratio("") is None
