import subprocess
import sys
from pathlib import Path

import pytest

from habla_ml.errors import InputError
from habla_ml.evaluation.metrics.diarisation import (
    DiarisationScore,
    SpeakerTurn,
    read_rttm,
    score_diarisation,
    write_rttm,
)

# The example of pyannote.metrics' own guide.
REFERENCE = (SpeakerTurn(0, 10, "A"), SpeakerTurn(12, 20, "B"), SpeakerTurn(24, 27, "A"), SpeakerTurn(30, 40, "C"))
HYPOTHESIS = (
    SpeakerTurn(2, 13, "a"),
    SpeakerTurn(13, 14, "d"),
    SpeakerTurn(14, 20, "b"),
    SpeakerTurn(22, 38, "c"),
    SpeakerTurn(38, 40, "d"),
)


@pytest.mark.long
def test_the_seconds_of_each_error_equal_those_by_hand():
    found = score_diarisation({"lesson": REFERENCE}, {"lesson": HYPOTHESIS}, 200, 1)
    (one,) = found.recordings
    # missed 0–2; false alarm 10–12, 22–24, 27–30; confused 12–13, 13–14, 24–27, 38–40
    assert (one.speech_s, one.missed_s, one.false_alarm_s, one.confusion_s) == (31, 2, 7, 7)
    assert found.rate is not None
    assert found.rate.value == pytest.approx(16 / 31)
    assert DiarisationScore.model_validate_json(found.model_dump_json()) == found


def test_renamed_speakers_are_no_error():
    renamed = tuple(SpeakerTurn(each.start_s, each.end_s, f"SPEAKER_{each.speaker}") for each in REFERENCE)
    found = score_diarisation({"lesson": REFERENCE}, {"lesson": renamed}, 200, 1)
    assert found.rate is not None
    assert (found.rate.low, found.rate.value) == (0, 0)
    assert 0 < found.rate.high < 1, "one recording without an error is no proof"


def test_a_recording_without_a_hypothesis_is_missed_and_one_without_a_reference_is_ignored():
    found = score_diarisation(
        {"a": (SpeakerTurn(0, 10, "A"),), "b": (SpeakerTurn(0, 30, "A"),)},
        {"a": (SpeakerTurn(0, 10, "x"),), "c": HYPOTHESIS},
        400,
        1,
    )
    assert [each.recording for each in found.recordings] == ["a", "b"]
    assert found.rate is not None
    assert found.rate.value == pytest.approx(30 / 40)
    assert found.rate.low < 0.75 < found.rate.high


def test_without_reference_speech_there_is_no_rate():
    assert score_diarisation({"a": ()}, {"a": (SpeakerTurn(0, 1, "x"),)}, 200, 1).rate is None


def test_an_rttm_file_is_read_and_an_invalid_line_is_named(tmp_path: Path):
    path = tmp_path / "a.rttm"
    path.write_text(
        "SPKR-INFO lesson 1 <NA> <NA> <NA> unknown A <NA> <NA>\n"
        "SPEAKER lesson 1 0.50 2.25 <NA> <NA> A <NA> <NA>\n"
        "SPEAKER lesson 1 3.00 1.00 <NA> <NA> B <NA> <NA>\n"
        "SPEAKER other 1 0 1 <NA> <NA> A <NA>\n"
    )
    assert read_rttm(path) == {
        "lesson": (SpeakerTurn(0.5, 2.75, "A"), SpeakerTurn(3.0, 4.0, "B")),
        "other": (SpeakerTurn(0.0, 1.0, "A"),),
    }
    for line in (
        "SPEAKER lesson 1 zero 1 <NA> <NA> A",
        "SPEAKER lesson 1 0 1",
        "SPEAKER lesson 1 0 0 <NA> <NA> A",
    ):
        path.write_text(line + "\n")
        with pytest.raises(InputError, match="line 1"):
            read_rttm(path)


def test_written_turns_are_read_back(tmp_path: Path):
    path = tmp_path / "lesson.rttm"
    write_rttm(path, "lesson", REFERENCE)
    assert read_rttm(path) == {"lesson": REFERENCE}


def test_the_error_names_the_extra_if_pyannote_is_missing():
    code = (
        "import sys; sys.modules['pyannote.metrics.diarization'] = None\n"
        "from habla_ml.evaluation.metrics.diarisation import score_diarisation\n"
        "try: score_diarisation({}, {}, 100, 1)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.startswith("EvaluationError")
    assert "habla-ml[diarisation]" in done.stdout
