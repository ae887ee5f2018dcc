import numpy as np
import pytest

from habla_ml.demo.recognition_errors import simulate_recognition_errors

TEXT = "Los niños han terminado los deberes para mañana."


def test_without_errors_the_text_stays():
    assert simulate_recognition_errors(TEXT, 0.0, np.random.default_rng(0)) == TEXT


def test_the_share_of_corrupted_words_is_the_error_rate():
    rng = np.random.default_rng(0)
    kept = sum(simulate_recognition_errors("mesa", 0.25, rng) == "mesa" for _ in range(2000))
    # a dropped word would leave an empty text, so the word stays: one error in four
    assert 1 - kept / 2000 == pytest.approx(0.25 * 0.75, abs=0.03)


def test_a_text_never_becomes_empty():
    rng = np.random.default_rng(0)
    assert all(simulate_recognition_errors("Sí.", 1.0, rng) for _ in range(200))
