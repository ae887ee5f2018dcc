"""Computes word times from Whisper's cross-attention, as OpenAI's `timing.py` does.

https://github.com/openai/whisper/blob/main/whisper/timing.py
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import torch
    from faster_whisper.tokenizer import Tokenizer

FRAME_S: Final = 0.02
"""Duration of one encoder frame."""

_MEDIAN_WIDTH: Final = 7


def align_words_to_audio(
    model: Any,
    encoded: torch.Tensor,
    tokenizer: Tokenizer,
    tokens: list[int],
    heads: Sequence[Sequence[int]],
    n_frames: int,
) -> list[dict[str, Any]]:
    """Return the words of a text with their times.

    Args:
        model: A `WhisperForConditionalGeneration` with eager attention.
        encoded: Encoder output of one clip, shape [1, 1500, d_model].
        tokenizer: A tokenizer with the prompt that was used to decode the text.
        tokens: The text.
        heads: [layer, head] of the alignment heads.
        n_frames: Number of encoder frames of the clip; the frames after them are silence.

    Returns:
        `word`, `tokens`, `start` and `end` (s) of each word.
    """
    if not tokens:
        return []
    import torch
    from transformers.models.whisper.generation_whisper import _dynamic_time_warping, _median_filter

    row = [*tokenizer.sot_sequence, tokenizer.no_timestamps, *tokens, tokenizer.eot]
    attentions = model.model.decoder(
        input_ids=torch.tensor([row], device=encoded.device), encoder_hidden_states=encoded, output_attentions=True
    ).cross_attentions
    weights = torch.stack([attentions[layer][0, head, :, :n_frames] for layer, head in heads])
    weights = weights / weights.sum(-1, keepdim=True)
    std, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    filtered = _median_filter((weights - mean) / std, _MEDIAN_WIDTH)
    matrix = filtered.mean(0)[len(tokenizer.sot_sequence) : -1]
    text_indices, time_indices = _dynamic_time_warping(-matrix.double().cpu().numpy())
    starts_a_token = np.diff(text_indices, prepend=-1) > 0
    times_s = time_indices[starts_a_token] * FRAME_S
    words, word_tokens = tokenizer.split_to_word_tokens([*tokens, tokenizer.eot])
    # The last word is the end token; it starts where the word before it ends.
    bounds = np.cumsum([0, *(len(each) for each in word_tokens[:-1])])
    return [
        {"word": word, "tokens": own, "start": times_s[first], "end": times_s[end]}
        for word, own, first, end in zip(words[:-1], word_tokens[:-1], bounds[:-1], bounds[1:], strict=True)
    ]
