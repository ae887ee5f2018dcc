import pytest

from habla_ml.training.checkpoints import (
    ValidationPoint,
    compute_word_error_rate,
    find_best_point,
    is_patience_exhausted,
)


def make_curve(*points: tuple[float, float]) -> list[ValidationPoint]:
    return [ValidationPoint(step=10 * (i + 1), wer=wer, loss=loss) for i, (wer, loss) in enumerate(points)]


def test_wer_ignores_case_and_punctuation() -> None:
    # one substitution and one insertion on 3 + 2 words
    assert compute_word_error_rate(
        ["¿Dónde está? Aquí.", "sí, profe"], ["dónde esta aquí", "si no profe"]
    ) == pytest.approx(3 / 5)


def test_accents_composed_and_decomposed_are_the_same_word() -> None:
    assert compute_word_error_rate(["lápiz"], ["la\u0301piz"]) == 0.0


def test_a_reference_of_only_punctuation_is_ignored() -> None:
    assert compute_word_error_rate(["¿?", "hola"], ["eh", "hola"]) == 0.0
    assert compute_word_error_rate(["¿?"], ["eh"]) == 0.0


def test_the_best_point_is_the_lowest_wer_then_loss_then_step() -> None:
    assert find_best_point(make_curve((0.3, 1), (0.2, 3), (0.2, 2), (0.2, 2))).step == 30


def test_patience_is_exhausted_after_this_many_evaluations_without_improvement() -> None:
    assert not is_patience_exhausted(make_curve((0.5, 1), (0.4, 1), (0.6, 1)), 2)
    assert is_patience_exhausted(make_curve((0.5, 1), (0.4, 1), (0.6, 1), (0.4, 1)), 2)
    assert not is_patience_exhausted(make_curve((0.5, 1), (0.4, 1), (0.6, 1), (0.4, 0.9)), 2)
    assert not is_patience_exhausted(make_curve((0.5, 1), (0.5, 1)), 2)
