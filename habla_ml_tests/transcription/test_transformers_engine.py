"""The checkpoint and its conversion in float32 give the same texts."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import EvaluationError
from habla_ml.export.ctranslate2 import CTRANSLATE2
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.faster_whisper import FasterWhisper
from habla_ml.transcription.open import open_transcriber
from habla_ml.transcription.options import DecodingOptions
from habla_ml.transcription.transformers_engine import Transformers
from habla_ml_tests.testing.base_model import BASE_MODEL
from habla_ml_tests.testing.export_checkpoint import export_checkpoint

pytestmark = pytest.mark.slow

GREEDY = DecodingOptions(engine="transformers", beam_size=1)


@pytest.fixture(scope="module")
def float32_artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_checkpoint(CTRANSLATE2, BASE_MODEL, tmp_path_factory.mktemp("float32"), "float32").path


@pytest.fixture(scope="module")
def greedy_hypotheses(sentences: list[Utterance]) -> list[Hypothesis]:
    """The checkpoint's greedy hypotheses of the first eight sentences."""
    return transcribe_checkpoint(sentences[:8])


def transcribe_checkpoint(clips: list[Utterance], **options: Any) -> list[Hypothesis]:
    engine = Transformers(BASE_MODEL, GREEDY.model_copy(update=options), "cpu", 2)
    return engine.transcribe(clips)


def transcribe_converted(folder: Path, clips: list[Utterance], **options: Any) -> list[Hypothesis]:
    engine = FasterWhisper(folder, DecodingOptions(beam_size=1).model_copy(update=options), "cpu", 1)
    return [engine.transcribe([each])[0] for each in clips]


@pytest.mark.parametrize("options", [{}, {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2}])
def test_greedy_texts_equal_those_of_faster_whisper_with_the_same_weights(
    float32_artefact: Path, sentences: list[Utterance], options: dict[str, Any]
) -> None:
    found = transcribe_checkpoint(sentences[:8], **options)
    served = transcribe_converted(float32_artefact, sentences[:8], **options)
    assert [each.text for each in found] == [each.text for each in served]
    assert len({each.text for each in found}) == 8
    for mine, theirs in zip(found, served, strict=True):
        assert mine.audio_sha256 == theirs.audio_sha256
        assert mine.avg_logprob == pytest.approx(theirs.avg_logprob, abs=1e-4)
        assert mine.no_speech_prob == pytest.approx(theirs.no_speech_prob, abs=1e-6)
        assert mine.compression_ratio == theirs.compression_ratio


def test_a_batch_gives_the_texts_of_one_by_one_decoding(
    sentences: list[Utterance], greedy_hypotheses: list[Hypothesis]
) -> None:
    engine = Transformers(BASE_MODEL, GREEDY, "cpu", 2)
    assert (engine.max_batch_clips, engine.parallel_batches) == (1, 1)
    alone = [engine.transcribe([each])[0] for each in sentences[:3]]
    together = greedy_hypotheses[:3]
    assert [each.text for each in together] == [each.text for each in alone]
    for one, other in zip(alone, together, strict=True):
        assert one.avg_logprob == pytest.approx(other.avg_logprob, abs=1e-4)
    assert Transformers(BASE_MODEL, GREEDY.model_copy(update={"batch_size": 7}), "cpu", 2).max_batch_clips == 7


def test_word_times_equal_those_of_faster_whisper(
    float32_artefact: Path, sentences: list[Utterance], greedy_hypotheses: list[Hypothesis]
) -> None:
    found = transcribe_checkpoint(sentences[:4], word_times=True)
    served = transcribe_converted(float32_artefact, sentences[:4], word_times=True)
    assert [each.text for each in found] == [each.text for each in greedy_hypotheses[:4]]
    differences_s = []
    for mine, theirs in zip(found, served, strict=True):
        assert [word.text for word in mine.words] == [word.text for word in theirs.words] == mine.text.split()
        differences_s += [abs(a.start_s - b.start_s) for a, b in zip(mine.words, theirs.words, strict=True)]
        differences_s += [abs(a.end_s - b.end_s) for a, b in zip(mine.words, theirs.words, strict=True)]
    assert max(differences_s) < 0.05


def test_beam_search_finds_texts_at_least_as_likely_and_mostly_the_same(
    float32_artefact: Path, sentences: list[Utterance], greedy_hypotheses: list[Hypothesis]
) -> None:
    beam = transcribe_checkpoint(sentences[:8], beam_size=5)
    better = [(a.avg_logprob or 0) - (b.avg_logprob or 0) for a, b in zip(beam, greedy_hypotheses, strict=True)]
    assert sum(better) >= 0
    served = transcribe_converted(float32_artefact, sentences[:8], beam_size=5)
    same = sum(a.text == b.text for a, b in zip(beam, served, strict=True))
    assert same >= len(beam) - 1, "two beam searches may differ only on a near tie"


def test_a_high_temperature_gives_less_likely_texts(
    sentences: list[Utterance], greedy_hypotheses: list[Hypothesis]
) -> None:
    cold, hot = greedy_hypotheses[:3], transcribe_checkpoint(sentences[:3], temperature=3.0, max_new_tokens=20)
    assert all(a.text != b.text for a, b in zip(cold, hot, strict=True))
    assert all((a.avg_logprob or 0) > (b.avg_logprob or 0) + 1 for a, b in zip(cold, hot, strict=True))


def test_max_new_tokens_is_the_number_of_tokens_before_the_end(
    sentences: list[Utterance], greedy_hypotheses: list[Hypothesis]
) -> None:
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(BASE_MODEL / "tokenizer.json"))
    whole = greedy_hypotheses[:2]
    for most in (1, 5):
        for cut, full in zip(transcribe_checkpoint(sentences[:2], max_new_tokens=most), whole, strict=True):
            first = tokenizer.encode(" " + full.text, add_special_tokens=False).ids[:most]
            assert cut.text == tokenizer.decode(first).strip()


def test_the_thresholds_empty_a_text(sentences: list[Utterance]) -> None:
    silent = transcribe_checkpoint(sentences[:2], no_speech_threshold=-1.0, log_prob_threshold=0.0)
    assert [(each.text, each.words, each.compression_ratio) for each in silent] == [("", (), None)] * 2
    repeated = transcribe_checkpoint(sentences[:2], compression_ratio_threshold=0.1)
    assert [each.text for each in repeated] == ["", ""]


def test_the_length_penalty_changes_the_search(sentences: list[Utterance]) -> None:
    short, long = (transcribe_checkpoint(sentences[:4], beam_size=5, length_penalty=each) for each in (-8.0, 8.0))
    assert sum(len(each.text) for each in short) < sum(len(each.text) for each in long)


def test_the_task_and_the_language_change_the_prompt(
    sentences: list[Utterance], greedy_hypotheses: list[Hypothesis]
) -> None:
    spoken = greedy_hypotheses[:2]
    for other in ({"language": "en"}, {"task": "translate"}):
        found = transcribe_checkpoint(sentences[:2], **other)
        assert [each.avg_logprob for each in found] != [each.avg_logprob for each in spoken]


def test_it_works_in_its_own_process(sentences: list[Utterance], greedy_hypotheses: list[Hypothesis]) -> None:
    expected = greedy_hypotheses[:3]
    options = GREEDY.model_copy(update={"batch_size": 2, "word_times": True})
    with closing(open_transcriber(options, BASE_MODEL, "cpu", 2)) as transcriber:
        found = transcriber.transcribe(sentences[:3])
    assert [each.text for each in found] == [each.text for each in expected]
    assert all(each.words for each in found)


def test_errors_name_what_is_missing_or_unsupported(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="does not support the option patience"):
        open_transcriber(GREEDY.model_copy(update={"patience": 2.0}), BASE_MODEL)
    with pytest.raises(EvaluationError, match=r"lacks config\.json, .*model\.safetensors"):
        Transformers(tmp_path, GREEDY, "cpu", 1)
    with pytest.raises(EvaluationError, match="tlh"):
        Transformers(BASE_MODEL, GREEDY.model_copy(update={"language": "tlh"}), "cpu", 1)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", {"model_type": "wav2vec2"}, "model_type 'wav2vec2'"),
        ("generation_config.json", {"alignment_heads": None}, "for word times copy alignment_heads"),
        ("generation_config.json", {"alignment_heads": [[7, 0]]}, r"\[\[7, 0\]\], and the decoder has 2"),
        ("generation_config.json", {"is_multilingual": False}, "English-only"),
    ],
)
def test_an_unsuitable_folder_is_refused(tmp_path: Path, file: str, change: dict[str, Any], message: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(BASE_MODEL, folder)
    (folder / file).write_text(json.dumps({**json.loads((folder / file).read_text()), **change}))
    with pytest.raises(EvaluationError, match=message):
        Transformers(folder, GREEDY.model_copy(update={"word_times": True}), "cpu", 1)


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(BASE_MODEL, folder)
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(EvaluationError, match="cannot load"):
        Transformers(folder, GREEDY, "cpu", 1)
