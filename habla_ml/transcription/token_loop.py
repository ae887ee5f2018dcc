"""Writes the tokens of one text, one after the other, with any decoder that gives the logits of the next token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from habla_ml.transcription.options import DecodingOptions


@dataclass(frozen=True)
class TokenRules:
    """Tokens that may not come next."""

    end: int
    suppressed: tuple[int, ...] = ()
    suppressed_first: tuple[int, ...] = ()
    """Also suppressed as the first token of a text."""
    timestamp_begin: int | None = None
    """The token `<|0.00|>`; None for a text without timestamps. The token before it is `<|notimestamps|>`."""

    def apply(self, logits: NDArray[np.float64], written: Sequence[int]) -> NDArray[np.float64]:
        """Return the logits of the next token, shape [n_tokens], with -inf for each that may not follow the written ones."""
        allowed = logits.copy()
        allowed[list(self.suppressed)] = -np.inf
        if not written:
            allowed[list(self.suppressed_first)] = -np.inf
        if self.timestamp_begin is not None:
            self._apply_timestamp_rules(allowed, written, self.timestamp_begin)
        return allowed

    def _apply_timestamp_rules(self, allowed: NDArray[np.float64], written: Sequence[int], begin: int) -> None:
        """As in Whisper: timestamps come in pairs, do not decrease, and come where they are together most probable."""
        allowed[begin - 1] = -np.inf
        if written:
            was_time = written[-1] >= begin
            was_time_before = len(written) < 2 or written[-2] >= begin
            if was_time and was_time_before:
                allowed[begin:] = -np.inf
            elif was_time:
                allowed[: self.end] = -np.inf
            times = [each for each in written if each >= begin]
            if times:
                allowed[begin : times[-1] + (0 if was_time and not was_time_before else 1)] = -np.inf
        if _log_sum_exp(allowed[begin:]) > allowed[:begin].max():
            allowed[:begin] = -np.inf


@dataclass(frozen=True)
class TokenSampler:
    """Chooses the next token: the most probable one, or a drawn one at a temperature above 0."""

    temperature: float = 0.0
    top_k: int = 0
    """Draw among so many of the most probable tokens; 0 is all."""
    random: np.random.Generator | None = None

    def choose(self, logits: NDArray[np.float64]) -> tuple[int, float]:
        """Return a token and its log-probability at this temperature (0 counts as 1)."""
        scaled = logits / (self.temperature or 1.0)
        logprobs = scaled - _log_sum_exp(scaled)
        token = int(logprobs.argmax())
        if self.temperature > 0 and self.random is not None:
            candidates = np.argsort(-logprobs, kind="stable")[: self.top_k or None]
            weights = np.exp(logprobs[candidates])
            token = int(self.random.choice(candidates, p=weights / weights.sum()))
        return token, float(logprobs[token])


@dataclass(frozen=True)
class WrittenText:
    """Tokens with their probabilities."""

    tokens: tuple[int, ...]
    """Without the prompt and the end token."""
    avg_logprob: float
    """Over the tokens and the end token."""
    prompt_logits: NDArray[np.float64]
    """After the first token of the prompt, shape [n_tokens]; they have the probability of silence."""


def write_text(
    add_token: Callable[[int], NDArray[np.float64]],
    prompt: Sequence[int],
    rules: TokenRules,
    sampler: TokenSampler,
    most_tokens: int,
) -> WrittenText:
    """Write a text until its end token.

    Args:
        add_token: Takes a token and returns the logits of the next one, shape [n_tokens].
        prompt: The tokens before the text.
        rules: Tokens that may not come next.
        sampler: Chooses among the others.
        most_tokens: Of the text.
    """
    steps = [add_token(each) for each in prompt]
    logits, tokens, logprobs = steps[-1], list[int](), list[float]()
    while len(tokens) < most_tokens:
        token, logprob = sampler.choose(rules.apply(logits, tokens))
        logprobs.append(logprob)
        if token == rules.end:
            break
        tokens.append(token)
        logits = add_token(token)
    return WrittenText(tuple(tokens), sum(logprobs) / (len(tokens) + 1), steps[0])


def compute_no_speech_prob(text: WrittenText, no_speech: int) -> float:
    """Return the probability of the token that stands for silence."""
    return float(np.exp(text.prompt_logits[no_speech] - _log_sum_exp(text.prompt_logits)))


def limit_tokens(options: DecodingOptions, positions: int) -> int:
    """Return half of the decoder's positions, the limit in every Whisper engine, or fewer if the options say so."""
    most = positions // 2
    return most if options.max_new_tokens is None else min(options.max_new_tokens, most)


def _log_sum_exp(values: NDArray[np.float64]) -> float:
    top = float(values.max())
    return top if np.isinf(top) else top + float(np.log(np.exp(values - top).sum()))
