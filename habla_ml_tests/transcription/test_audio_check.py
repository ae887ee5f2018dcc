import numpy as np
import pytest

from habla_ml.transcription.audio_check import find_audio_fault


def test_audio_up_to_exactly_thirty_seconds_is_usable():
    assert find_audio_fault(np.zeros(480_000, np.float32)) is None
    assert find_audio_fault(np.zeros(1, np.float32)) is None


@pytest.mark.parametrize(
    ("audio", "fault"),
    [
        (np.zeros((2, 4), np.float32), "shape (2, 4)"),
        (np.empty(0, np.float32), "no samples"),
        (np.zeros(480_001, np.float32), "more than the window of 30 s"),
        (np.array([0.0, np.nan], np.float32), "not finite"),
        (np.array([0.0, np.inf], np.float32), "not finite"),
    ],
)
def test_a_fault_is_described(audio, fault):
    assert fault in find_audio_fault(audio)
