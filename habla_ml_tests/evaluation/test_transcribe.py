from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import EvaluationError
from habla_ml.evaluation.transcribe import DecodingOptions, FasterWhisperTranscriber, audio_fault
from habla_ml_tests.evaluation.conftest import BASE_MODEL

OPTIONS = DecodingOptions(batch_size=4, max_new_tokens=12, no_speech_threshold=None)


def one_by_one(folder: Path, clips: list[Utterance], options: DecodingOptions) -> list[str]:
    """The plain way: faster-whisper's own transcribe on each clip padded with silence to 30 s."""
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


def test_a_batch_gives_the_text_of_one_by_one_decoding(artefact: Path, clips: list[Utterance]) -> None:
    expected = one_by_one(artefact, clips, OPTIONS)
    found = FasterWhisperTranscriber(artefact, OPTIONS, "cpu", 1).transcribe(clips)
    assert [each.text for each in found] == expected
    assert len(set(expected)) > 1, "a model that says the same to everything proves nothing"
    assert [each.audio_sha256 for each in found] == [each.audio_sha256 for each in clips]
    assert all(each.failure is None and each.decode_s > 0 and each.avg_logprob is not None for each in found)


@pytest.mark.slow
def test_the_shipped_base_model_gives_the_text_of_one_by_one_decoding(tmp_path: Path) -> None:
    import hashlib

    from habla_ml.demo.base_corpus import spoken_sentence
    from habla_ml.export.ct2 import convert_to_ctranslate2

    rng = np.random.default_rng(7)
    spoken = []
    for at in range(12):
        text, pcm = spoken_sentence(rng)
        audio = (pcm / 32768).astype(np.float32)
        sha256 = hashlib.sha256(audio.tobytes()).hexdigest()
        spoken.append(Utterance(str(at), "s", "Ana", text, len(audio) / 16_000, -20.0, sha256, audio))
    options = DecodingOptions(batch_size=6, max_new_tokens=80)
    folder = convert_to_ctranslate2(BASE_MODEL, tmp_path / "ct2").folder
    found = FasterWhisperTranscriber(folder, options, "cpu", 1).transcribe(spoken)
    assert [each.text for each in found] == one_by_one(folder, spoken, options)


def test_unusable_audio_is_a_failure_and_its_neighbours_are_decoded(
    artefact: Path, clips: list[Utterance]
) -> None:
    broken = replace(clips[1], audio=np.array([0.0, np.nan], np.float32))
    empty = replace(clips[2], audio=np.empty(0, np.float32))
    long = replace(clips[3], audio=np.zeros(480_001, np.float32))
    transcriber = FasterWhisperTranscriber(artefact, OPTIONS, "cpu", 1)
    found = transcriber.transcribe([clips[0], broken, empty, long, clips[4]])
    assert [each.failure is None for each in found] == [True, False, False, False, True]
    assert "not finite" in str(found[1].failure)
    assert "no sample" in str(found[2].failure)
    assert "30 s" in str(found[3].failure)
    assert found[1].text == ""
    assert [found[0].text, found[4].text] == [each.text for each in transcriber.transcribe([clips[0], clips[4]])]


def test_audio_of_exactly_thirty_seconds_is_usable() -> None:
    assert audio_fault(np.zeros(480_000, np.float32)) is None
    assert audio_fault(np.zeros((2, 4), np.float32)) is not None


def test_silence_is_empty_where_the_thresholds_say_so(artefact: Path, clips: list[Utterance]) -> None:
    never_silent = FasterWhisperTranscriber(artefact, OPTIONS, "cpu", 1).transcribe(clips[:2])
    always = OPTIONS.model_copy(update={"no_speech_threshold": -1.0, "log_prob_threshold": 0.0})
    always_silent = FasterWhisperTranscriber(artefact, always, "cpu", 1).transcribe(clips[:2])
    assert any(each.text for each in never_silent)
    assert [each.text for each in always_silent] == ["", ""]


def test_a_folder_that_would_send_faster_whisper_to_the_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(EvaluationError, match=r"lacks config\.json, tokenizer\.json, preprocessor_config\.json"):
        FasterWhisperTranscriber(tmp_path, OPTIONS)


def test_a_damaged_model_and_an_unknown_language_are_named(
    artefact: Path, clips: list[Utterance], tmp_path: Path
) -> None:
    for name in ("config.json", "tokenizer.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((artefact / name).read_bytes())
    (tmp_path / "model.bin").write_bytes(b"not a model")
    with pytest.raises(EvaluationError, match="cannot load"):
        FasterWhisperTranscriber(tmp_path, OPTIONS, "cpu", 1).transcribe(clips[:1])
    klingon = OPTIONS.model_copy(update={"language": "tlh"})
    with pytest.raises(EvaluationError, match="tlh"):
        FasterWhisperTranscriber(artefact, klingon, "cpu", 1).transcribe(clips[:1])


def test_the_digest_names_everything_that_can_change_a_text() -> None:
    digests = {
        DecodingOptions().digest(),
        DecodingOptions(beam_size=1).digest(),
        DecodingOptions(language="en").digest(),
        DecodingOptions(no_speech_threshold=None).digest(),
    }
    assert len(digests) == 4
    assert DecodingOptions(beam_size=5).digest() == DecodingOptions().digest()
