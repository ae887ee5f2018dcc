"""The rules for the next token, on a vocabulary of 4 words, the end (4), no timestamps (5) and five timestamps (6 to 10)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from habla_ml.transcription.token_loop import TokenRules, TokenSampler, write_text

END, BEGIN = 4, 6
RULES = TokenRules(END, timestamp_begin=BEGIN)


def list_allowed(written: tuple[int, ...], likely: int = 0) -> list[int]:
    logits = np.zeros(11)
    logits[likely] = 5.0
    return [int(each) for each in np.flatnonzero(np.isfinite(RULES.apply(logits, written)))]


@pytest.mark.parametrize(
    ("written", "allowed"),
    [
        ((), [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]),
        ((7,), [0, 1, 2, 3, 4]),
        ((7, 2), [0, 1, 2, 3, 4, 8, 9, 10]),
        ((7, 2, 9), [4, 9, 10]),
        ((7, 2, 9, 9), [0, 1, 2, 3, 4]),
    ],
)
def test_timestamps_come_in_pairs_and_do_not_decrease(written: tuple[int, ...], allowed: list[int]) -> None:
    likely = allowed[0]
    assert list_allowed(written, likely) == allowed


def test_a_timestamp_comes_where_all_of_them_together_are_more_probable_than_any_word() -> None:
    logits = np.zeros(11)
    logits[0] = 1.0  # e < 4 timestamps of 1 each
    assert np.flatnonzero(np.isfinite(RULES.apply(logits, (7, 2)))).tolist() == [8, 9, 10]


def test_some_tokens_are_suppressed_and_others_only_at_the_start() -> None:
    rules = TokenRules(END, suppressed=(1,), suppressed_first=(2, END))
    assert np.flatnonzero(np.isinf(rules.apply(np.zeros(6), ()))).tolist() == [1, 2, END]
    assert np.flatnonzero(np.isinf(rules.apply(np.zeros(6), (0,)))).tolist() == [1]


def test_a_token_is_drawn_among_the_most_probable_ones_with_its_probability_at_the_temperature() -> None:
    logits = np.log([0.4, 0.3, 0.2, 0.1])
    sampler = TokenSampler(2.0, top_k=2, random=np.random.default_rng(1))
    drawn = [sampler.choose(logits) for _ in range(400)]
    roots = np.sqrt([0.4, 0.3, 0.2, 0.1])
    assert {token for token, _ in drawn} == {0, 1}
    assert dict(drawn)[1] == pytest.approx(math.log(roots[1] / roots.sum()))
    share = sum(token == 0 for token, _ in drawn) / 400
    assert share == pytest.approx(roots[0] / roots[:2].sum(), abs=0.08)
    assert TokenSampler().choose(logits) == (0, pytest.approx(math.log(0.4)))


def test_a_text_ends_at_its_end_token_or_at_the_bound_and_averages_over_both() -> None:
    given: list[int] = []

    def add_token(token: int) -> NDArray[np.float64]:
        given.append(token)
        probabilities = np.full(6, 0.1)
        probabilities[END if token == 3 else token + 1 if token < 3 else 1] = 0.5
        return np.log(probabilities)

    rules = TokenRules(END)
    text = write_text(add_token, [5], rules, TokenSampler(), 100)
    assert (text.tokens, given) == ((1, 2, 3), [5, 1, 2, 3])
    assert text.avg_logprob == pytest.approx(math.log(0.5))
    short = write_text(add_token, [5], rules, TokenSampler(), 2)
    assert short.tokens == (1, 2)
    assert short.avg_logprob == pytest.approx(2 / 3 * math.log(0.5))
