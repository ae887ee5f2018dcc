import numpy as np
import pytest

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.metrics.hallucination import (
    MAX_EVIDENCE_PER_KIND,
    HallucinationScore,
    ModelHallucinations,
    resample_hallucinations,
    score_hallucination,
)
from habla_ml.evaluation.metrics.hallucination_detection import (
    find_non_speech_hallucinations,
    find_speech_hallucinations,
)
from habla_ml.evaluation.metrics.inputs import Reference
from habla_ml.evaluation.metrics.non_speech import NonSpeechSet, make_built_in_clips
from habla_ml.evaluation.scoring.alignment import score_utterances
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.evaluation.scoring.statistics import compute_share_bounds, to_interval
from habla_ml.settings import EvaluationSettings
from habla_ml.transcription.engine import Hypothesis
from habla_ml_tests.testing.simulated_hypotheses import make_utterance

SILENCES = NonSpeechSet(tuple(make_built_in_clips(seed=3)))
DRAWS, SEED = 500, 7


def find_in_speech(texts: list[str], reference: str = "Vale.", duration_s: float = 1.0, clips_per_session: int = 1):
    references = [
        Reference.of(
            make_utterance(f"seg-{at}", f"session-{at // clips_per_session % 4}", reference, duration_s=duration_s)
        )
        for at in range(len(texts))
    ]
    counts = [each.words for each in score_utterances([reference] * len(texts), texts, normalise_spanish)]
    return find_speech_hallucinations(references, texts, counts, EvaluationSettings())


def find_in_silence(text_of=lambda clip: "", failure_of=lambda clip: None):
    hypotheses = {
        each.audio_sha256: Hypothesis(each.audio_sha256, text_of(each), 0.1, each.duration_s, failure=failure_of(each))
        for each in SILENCES.clips
    }
    return find_non_speech_hallucinations(SILENCES.clips, hypotheses)


def score(speech, non_speech) -> HallucinationScore:
    return score_hallucination(ModelHallucinations(speech, non_speech), SILENCES.digest, DRAWS, SEED)


def test_output_without_speech_is_counted_by_kind_as_by_hand():
    found = score(
        find_in_speech(["Vale."]), find_in_silence(lambda clip: "Sí, sí." if clip.kind == "door" else "[Música] …")
    )
    assert (found.non_speech.count, found.non_speech.of) == (3, 60)
    by_kind = {each.kind: each for each in found.kinds}
    assert (by_kind["door"].with_output.count, by_kind["door"].words) == (3, 6)
    assert by_kind["wind"].with_output.count == 0
    minutes = sum(each.duration_s for each in SILENCES.clips) / 60
    assert found.non_speech_words_per_minute is not None
    assert found.non_speech_words_per_minute.value == pytest.approx(6 / minutes)
    assert [each.of for each in found.evidence] == ["non_speech"] * 3
    assert found.evidence[0].clip_id.startswith("door")


def test_no_output_in_sixty_clips_has_an_interval_and_clips_of_one_kind_widen_it():
    silent = score(find_in_speech(["Vale."]), find_in_silence())
    door = score(
        find_in_speech(["Vale."]), find_in_silence(lambda clip: "Sí." if clip.kind == "door" else "")
    ).non_speech
    # Three clips of a kind with a correlation of 0.1 count as 2.5: fifty effective clips.
    trials = 60 / 1.2
    assert silent.non_speech.interval is not None
    assert silent.non_speech.interval.high == pytest.approx(1 - 0.025 ** (1 / trials))
    words = silent.non_speech_words_per_minute
    minutes = sum(each.duration_s for each in SILENCES.clips) / 60
    assert words is not None
    assert (words.low, words.high) == (0.0, pytest.approx(-np.log(0.025) / (minutes / 1.2), rel=0.01))
    assert door.interval is not None
    assert door.interval.high > compute_share_bounds(3 / 60, trials)[1], "a draw of kinds may have more doors"


def test_a_stopped_decoding_without_speech_counts_as_output():
    found = score(
        find_in_speech(["Vale."]), find_in_silence(failure_of=lambda clip: "timeout" if clip.kind == "birds" else None)
    )
    assert (found.non_speech.count, found.non_speech_stopped) == (3, 3)


def test_insertions_in_short_clips_are_counted_by_word_and_by_clip():
    texts = ["Vale.", "Vale, muy bien.", "Vale.", "Vale ya."]
    found = score(find_in_speech(texts), find_in_silence())
    assert found.short_insertions_per_word is not None
    assert found.short_insertions_per_word.value == pytest.approx(3 / 4)
    assert found.short_insertions_per_clip == pytest.approx(3 / 4)
    assert (found.short_with_insertion.count, found.short_with_insertion.of) == (2, 4)
    long = score(find_in_speech(texts, duration_s=4.0), find_in_silence())
    assert long.short_insertions_per_word is None
    assert long.short_insertions_per_clip is None
    assert (long.short_with_insertion.of, long.short_with_insertion.interval) == (0, None)


def test_the_evidence_has_the_clips_of_loops_and_stock_phrases():
    found = score(find_in_speech(["vale " * 40, "Gracias por ver el video.", "Vale."]), find_in_silence())
    assert (found.loops.count, found.compressed.count, found.stock_phrases.count, found.invented.count) == (
        1,
        1,
        1,
        2,
    )
    assert {(each.of, each.clip_id) for each in found.evidence} >= {
        ("loop", "seg-0"),
        ("compression", "seg-0"),
        ("stock_phrase", "seg-1"),
    }
    assert next(each for each in found.evidence if each.of == "loop").detail == "vale × 40"
    assert all(len(each.text) <= 300 for each in found.evidence)


def test_the_evidence_is_bounded_and_the_counts_are_not():
    found = score(find_in_speech(["vale " * 40] * 50), find_in_silence())
    assert found.loops.count == 50
    assert sum(each.of == "loop" for each in found.evidence) == MAX_EVIDENCE_PER_KIND


def test_a_model_that_starts_to_invent_is_significantly_worse() -> None:
    clean = ModelHallucinations(find_in_speech(["Vale."] * 40), find_in_silence())
    bad = ModelHallucinations(
        find_in_speech(["Vale. Gracias por ver el video."] * 40), find_in_silence(lambda clip: "Gracias.")
    )
    found = resample_hallucinations([clean, bad, clean], DRAWS, SEED)
    for resample, value in (
        (found.non_speech, 100.0),
        (found.short_insertions, 500.0),
        (found.invented, 100.0),
    ):
        interval = to_interval(resample.point_change(0, 1))
        assert interval is not None
        assert interval.low > 0
        assert interval.value == pytest.approx(value)
        same = to_interval(resample.point_change(0, 2))
        assert same is not None
        assert same.low < same.value == 0.0 < same.high


def test_a_clip_that_is_not_decoded_is_named_in_the_error():
    with pytest.raises(EvaluationError, match="60 of 60 clips without speech have no hypothesis"):
        find_non_speech_hallucinations(SILENCES.clips, {})


def test_a_score_without_clips_has_no_intervals_and_is_stored_as_json():
    empty = score_hallucination(ModelHallucinations((), ()), NonSpeechSet(()).digest, DRAWS, SEED)
    assert empty.non_speech.interval is None
    assert empty.non_speech_words_per_minute is None
    full = score(find_in_speech(["vale " * 40]), find_in_silence(lambda clip: "Sí."))
    for each in (empty, full):
        assert HallucinationScore.model_validate_json(each.model_dump_json()) == each


def test_a_share_of_utterances_is_drawn_by_session():
    texts = ["Gracias por ver."] * 10 + ["Vale."] * 30
    found = score(find_in_speech(texts, duration_s=3.0, clips_per_session=10), find_in_silence())
    assert found.stock_phrases.interval is not None
    assert found.stock_phrases.interval.high > compute_share_bounds(10 / 40, 40)[1], (
        "one session of four has all of them"
    )
    assert np.isfinite(found.stock_phrases.interval.high)
