from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from habla_ml.audio import dequantise, pcm_sha256
from habla_ml.demo.synthetic_speakers import CASTILIAN, make_andalusian_classroom, synthesize_utterance
from habla_ml.errors import EvaluationError
from habla_ml.evaluation.metrics.inputs import Reference
from habla_ml.evaluation.metrics.word_timing import WordTimingScore, measure_word_timing, score_word_timing
from habla_ml.transcription.engine import Hypothesis, RecognisedWord
from habla_ml.transcription.open import open_transcriber
from habla_ml.transcription.options import DecodingOptions
from habla_ml_tests.testing.base_model import BASE_MODEL
from habla_ml_tests.testing.simulated_hypotheses import make_utterance

REFERENCES = [
    Reference.of(make_utterance(f"seg-{at}", f"session-{at}", "Los niños traen pan.", duration_s=2.0))
    for at in range(3)
]
MANUAL = (
    RecognisedWord("Los", 0.0, 0.2),
    RecognisedWord("niños", 0.2, 0.6),
    RecognisedWord("traen", 0.6, 1.0),
    RecognisedWord("pan.", 1.0, 1.4),
)


def make_hypotheses(*models: tuple[RecognisedWord, ...], text: str | None = None) -> dict[str, Hypothesis]:
    return {
        each.audio_sha256: Hypothesis(
            "s", " ".join(word.text.strip() for word in words) if text is None else text, 0.1, 2.0, words=words
        )
        for each, words in zip(REFERENCES, models, strict=False)
    }


def shift_words(start_s: float, end_s: float) -> tuple[RecognisedWord, ...]:
    return tuple(RecognisedWord(f" {each.text}", each.start_s + start_s, each.end_s + end_s) for each in MANUAL)


def test_errors_equal_those_by_hand():
    words = (
        RecognisedWord(" los", 0.05, 0.2),
        RecognisedWord(" nio", 0.3, 0.5),
        RecognisedWord(" traen,", 0.5, 1.1),
        RecognisedWord(" …", 1.1, 1.1),
        RecognisedWord(" pan", 1.0, 1.6),
    )
    timed = measure_word_timing(REFERENCES[:1], make_hypotheses(words), {"seg-0": MANUAL})
    found = score_word_timing(timed, 200, 1)
    assert (found.utterances, found.reference_words, found.matched_words) == (1, 4, 3)
    assert found.starts is not None
    assert found.ends is not None
    # starts: +50, −100, 0; ends: 0, +100, +200
    assert found.starts.mean_absolute_ms == pytest.approx(150 / 3)
    assert found.starts.bias_ms == pytest.approx(-50 / 3)
    assert found.ends.mean_absolute_ms == pytest.approx(300 / 3)
    assert found.ends.bias_ms == pytest.approx(100)
    assert found.ends.p95_ms == pytest.approx(190)
    assert found.mean_absolute_ms is not None
    assert found.mean_absolute_ms.value == pytest.approx(450 / 6)
    assert WordTimingScore.model_validate_json(found.model_dump_json()) == found


def test_the_interval_is_over_sessions_and_every_word_has_the_same_weight():
    alignments = {each.segment_id: MANUAL for each in REFERENCES}
    models = [shift_words(0.0, 0.0), shift_words(0.1, 0.1), shift_words(0.2, 0.2)[:1]]
    found = score_word_timing(measure_word_timing(REFERENCES, make_hypotheses(*models), alignments), 500, 1)
    assert found.mean_absolute_ms is not None
    assert found.mean_absolute_ms.value == pytest.approx((4 * 0 + 4 * 100 + 1 * 200) / 9)
    assert found.mean_absolute_ms.low < found.mean_absolute_ms.value < found.mean_absolute_ms.high


def test_the_interval_of_few_sessions_is_wider_than_their_values_and_one_word_has_none():
    alignments = {each.segment_id: MANUAL for each in REFERENCES}
    models = make_hypotheses(shift_words(0.05, 0.05), shift_words(0.06, 0.06))
    found = score_word_timing(measure_word_timing(REFERENCES[:2], models, alignments), 5000, 1).mean_absolute_ms
    assert found is not None
    # Of two sessions the draws are 50, 55 and 60 ms; Student's t with one degree of freedom widens them.
    half_ms = 5 * scipy.stats.t.ppf(0.975, 1) / scipy.stats.norm.ppf(0.975) * np.sqrt(2)
    assert (found.low, found.value, found.high) == pytest.approx((55 - half_ms, 55, 55 + half_ms))
    late = make_hypotheses((*shift_words(0.05, 0.05)[:2], *shift_words(0.15, 0.15)[2:]))
    alone = score_word_timing(measure_word_timing(REFERENCES[:1], late, alignments), 500, 1).mean_absolute_ms
    assert alone is not None
    assert alone.low < 80 < alone.value < 120 < alone.high
    word = make_hypotheses(shift_words(0.05, 0.05)[:1])
    single = score_word_timing(measure_word_timing(REFERENCES[:1], word, alignments), 500, 1)
    assert (single.matched_words, single.mean_absolute_ms) == (1, None)


def test_clips_are_found_by_their_audio_and_others_are_ignored():
    alignments = {REFERENCES[1].audio_sha256: MANUAL, "another": MANUAL}
    timed = measure_word_timing(REFERENCES, make_hypotheses(*[shift_words(0, 0)] * 3), alignments)
    assert [each.session_id for each in timed] == ["session-1"]


def test_silence_matches_no_word_and_texts_without_times_are_refused():
    found = score_word_timing(measure_word_timing(REFERENCES[:1], make_hypotheses(()), {"seg-0": MANUAL}), 200, 1)
    assert (found.utterances, found.reference_words, found.matched_words) == (1, 4, 0)
    assert found.mean_absolute_ms is None
    assert found.starts is None
    with pytest.raises(EvaluationError, match="none of 1 texts has word times"):
        measure_word_timing(REFERENCES[:1], make_hypotheses((), text="Los niños."), {"seg-0": MANUAL})


def test_there_is_no_figure_without_alignments():
    found = score_word_timing(measure_word_timing(REFERENCES, make_hypotheses(*[MANUAL] * 3), {}), 200, 1)
    assert (found.utterances, found.reference_words, found.mean_absolute_ms) == (0, 0, None)


@pytest.mark.slow
def test_the_word_times_of_the_demos_base_model_are_near_those_of_the_synthesizer(tmp_path: Path):
    from ctranslate2.converters import TransformersConverter

    model = tmp_path / "base"
    TransformersConverter(str(BASE_MODEL), copy_files=["tokenizer.json", "preprocessor_config.json"]).convert(
        str(model), quantization="int8"
    )
    classroom = make_andalusian_classroom(1)
    speaker = replace(classroom.teacher, dialect=CASTILIAN)
    synthesized = [
        synthesize_utterance(speaker, classroom.room, np.random.default_rng([3, at]), quiet=False) for at in range(12)
    ]
    spoken = [
        make_utterance(
            f"seg-{at}",
            f"session-{at % 4}",
            each.text,
            duration_s=each.duration_s,
            audio=dequantise(each.pcm),
            audio_sha256=pcm_sha256(each.pcm),
        )
        for at, each in enumerate(synthesized)
    ]
    transcriber = open_transcriber(DecodingOptions(word_times=True), model, "cpu", 1)
    try:
        hypotheses = {each.audio_sha256: each for each in transcriber.transcribe(spoken)}
    finally:
        transcriber.close()
    manual = {one.audio_sha256: each.words for one, each in zip(spoken, synthesized, strict=True)}
    found = score_word_timing(measure_word_timing([Reference.of(each) for each in spoken], hypotheses, manual), 200, 1)
    assert found.utterances == 12
    assert found.matched_words > 0.5 * found.reference_words
    assert found.mean_absolute_ms is not None
    assert 10 < found.mean_absolute_ms.value < 250
    late = {
        key: replace(each, words=tuple(replace(w, start_s=w.start_s + 0.5, end_s=w.end_s + 0.5) for w in each.words))
        for key, each in hypotheses.items()
    }
    worse = score_word_timing(measure_word_timing([Reference.of(each) for each in spoken], late, manual), 200, 1)
    assert worse.starts is not None
    assert found.starts is not None
    assert worse.starts.bias_ms == pytest.approx(found.starts.bias_ms + 500)
