from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from habla_ml.corpus.snapshot import Utterance
from habla_ml.settings import EvaluationSettings
from habla_ml.transcription.engine import load_engine_class
from habla_ml.transcription.faster_whisper import FasterWhisper
from habla_ml.transcription.options import DecodingOptions
from habla_ml.transcription.serving_profiles import build_profile_options
from habla_ml.transcription.whisperkit_engine import WhisperKitRules
from habla_ml.transcription.whisperkit_rules import SegmentTimes, split_at_last_timestamp

BEGIN = 100
GREEDY = DecodingOptions(engine="whisperkit-rules", beam_size=1, no_speech_threshold=None, log_prob_threshold=None)


@pytest.mark.parametrize(
    ("tokens", "kept", "timestamp"),
    [
        ((BEGIN, 7, 8), 3, 0),
        ((BEGIN, 7, 8, BEGIN + 90), 4, 0),
        ((BEGIN, 7, BEGIN + 40, BEGIN + 40, 8, BEGIN + 90), 6, 0),
        ((BEGIN, 7, BEGIN + 40, BEGIN + 50, 8), 3, 40),
        ((BEGIN, 7, BEGIN + 40, BEGIN + 50, 8, BEGIN + 60, BEGIN + 60), 6, 60),
    ],
)
def test_text_after_the_last_closed_segment_is_decoded_again(
    tokens: tuple[int, ...], kept: int, timestamp: int, base_artefact: Path
) -> None:
    assert split_at_last_timestamp(tokens, BEGIN) == (tokens[:kept], timestamp)
    engine = WhisperKitRules(base_artefact, GREEDY, "cpu", 1)
    begin = engine._tokenizer.timestamp_begin
    shifted = [each + begin - BEGIN if each >= BEGIN else each for each in tokens]
    segments, seek, _ = engine._model._split_segments_by_timestamps(
        tokenizer=engine._tokenizer,
        tokens=shifted,
        time_offset=0.0,
        segment_size=3000,
        segment_duration=30.0,
        seek=0,
    )
    assert [token for each in segments for token in each["tokens"]] == shifted[:kept], "faster-whisper splits so too"
    assert seek == (2 * timestamp or 3000)


@pytest.mark.parametrize(
    ("windows", "span_s"),
    [
        ([((BEGIN, 7, BEGIN + 90), 0.0)], (0.0, 1.8)),
        ([((BEGIN + 5, 7, BEGIN + 40, BEGIN + 50, 8, BEGIN + 90), 0.0)], (0.1, 1.8)),
        ([((BEGIN, 7), 0.0)], (0.0, 5.0)),
        ([((BEGIN + 5, 7, BEGIN + 50), 0.0), ((BEGIN, 8, BEGIN + 100), 1.0)], (0.1, 3.0)),
        ([((BEGIN, 7, BEGIN + 900), 0.0)], (0.0, 5.0)),
    ],
)
def test_segments_last_from_the_first_timestamp_to_the_last_or_the_end_of_the_clip(
    windows: list[tuple[tuple[int, ...], float]], span_s: tuple[float, float]
) -> None:
    times = SegmentTimes(duration_s=5.0)
    for tokens, start_s in windows:
        times.add(tokens, BEGIN, start_s)
    assert times.span_s == pytest.approx(span_s)


@pytest.mark.long
def test_with_timestamps_a_text_has_the_times_of_its_segments(base_artefact: Path, sentences: list[Utterance]) -> None:
    for profile in ("phone", "faster-whisper default"):
        options = build_profile_options(profile, EvaluationSettings()).model_copy(update={"fallback_temperatures": ()})
        engine = load_engine_class(options.engine)(base_artefact, options, "cpu", 1)
        for clip, found in zip(sentences[:2], engine.transcribe(sentences[:2]), strict=True):
            assert (found.segments_s is not None) == bool(found.text)
            if found.segments_s is not None:
                assert 0 <= found.segments_s[0] <= found.segments_s[1] <= clip.duration_s


@pytest.mark.long
def test_without_timestamps_and_attempts_the_text_is_the_greedy_one(
    base_artefact: Path, sentences: list[Utterance]
) -> None:
    greedy = DecodingOptions(beam_size=1, no_speech_threshold=None)
    expected = FasterWhisper(base_artefact, greedy, "cpu", 1).transcribe(sentences[:2])
    found = WhisperKitRules(base_artefact, GREEDY, "cpu", 1).transcribe(sentences[:2])
    assert [each.text for each in found] == [each.text for each in expected]
    assert [each.avg_logprob for each in found] == pytest.approx([each.avg_logprob for each in expected], abs=1e-3)


def test_a_clip_of_a_second_has_no_text_because_no_window_starts_in_the_last_second(
    base_artefact: Path, sentences: list[Utterance]
) -> None:
    engine = WhisperKitRules(base_artefact, GREEDY, "cpu", 1)
    short = [_cut(sentences[0], 16_000), _cut(sentences[0], 17_000)]
    assert [bool(each.text) for each in engine.transcribe(short)] == [False, True]


@pytest.mark.long
@pytest.mark.parametrize("profile", ["phone", "faster-whisper default"])
def test_a_sampled_text_depends_on_the_clip_only(profile: str, base_artefact: Path, sentences: list[Utterance]) -> None:
    sampled = {
        "timestamps": False,
        "temperature": 3.0,
        "fallback_temperatures": (),
        "log_prob_threshold": None,
        "first_token_log_prob_threshold": None,
        "compression_ratio_threshold": None,
        "no_speech_threshold": None,
    }
    options = build_profile_options(profile, EvaluationSettings()).model_copy(update=sampled)
    engine_class = load_engine_class(options.engine)
    engine = engine_class(base_artefact, options, "cpu", 1)
    forwards = [each.text for each in engine.transcribe(sentences[:2])]
    backwards = [each.text for each in engine.transcribe(sentences[1::-1])][::-1]
    assert forwards == backwards
    assert engine_class(base_artefact, options, "cpu", 1).transcribe(sentences[1:2])[0].text == forwards[1]
    plain = FasterWhisper(base_artefact, DecodingOptions(beam_size=1), "cpu", 1).transcribe(sentences[:2])
    assert forwards != [each.text for each in plain], "nothing was sampled"


def _cut(clip: Utterance, samples: int) -> Utterance:
    audio = np.concatenate([clip.audio, clip.audio])[:samples]
    return replace(clip, audio=audio, duration_s=samples / 16_000)
