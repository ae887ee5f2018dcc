"""What the decoder shall write: a sentence as the label ids that Whisper is trained on.

The model itself shifts labels right and puts `<|startoftranscript|>` in front (`shift_tokens_right`), so labels
begin after it: `<|es|> <|transcribe|> <|notimestamps|> text <|endoftext|>`. Built from raw ids, because a
tokenizer's own prefix would bring a second start token (transformers issue 29973).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from habla_ml.errors import TrainingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEMANTICS = "es-transcribe-notimestamps/1"
"""Version of what labels mean; part of every run's identity. Bump it when `Targets.encode` changes."""
MAX_POSITIONS = 448
"""Whisper's decoder positions, prompt and end included."""
IGNORED = -100
"""Label of a padded position: no loss."""
_PROMPT = ("<|es|>", "<|transcribe|>", "<|notimestamps|>")


class Targets:
    """Encodes sentences with a Whisper tokenizer (a `WhisperTokenizer` of any size)."""

    def __init__(self, tokenizer: Any) -> None:
        known = tokenizer.get_vocab()
        missing = [token for token in (*_PROMPT, "<|startoftranscript|>", "<|endoftext|>") if token not in known]
        if missing:
            raise TrainingError(
                f"the base model's tokenizer has no {', '.join(missing)}; use a multilingual Whisper tokenizer"
            )
        self._tokenizer = tokenizer
        self._prompt = tuple(known[token] for token in _PROMPT)
        self.end_id: int = known["<|endoftext|>"]
        self.start_id: int = known["<|startoftranscript|>"]

    def encode(self, sentence: str) -> tuple[int, ...]:
        """The labels of one sentence; raises `UntrainableSentenceError` where it cannot be a target.

        The text has no leading space, like the labels of Hugging Face's fine-tuning recipe.
        """
        text = sentence.strip()
        if not text:
            raise UntrainableSentenceError("empty sentence")
        ids = self._tokenizer.encode(text, add_special_tokens=False)
        if any(each >= self.end_id for each in ids):
            raise UntrainableSentenceError("sentence holds a special token")
        labels = (*self._prompt, *ids, self.end_id)
        if len(labels) > MAX_POSITIONS:
            raise UntrainableSentenceError(f"sentence needs more than {MAX_POSITIONS} positions")
        return labels

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens and outer spaces; padding is ignored."""
        text: str = self._tokenizer.decode([int(each) for each in ids if each >= 0], skip_special_tokens=True)
        return text.strip()


class UntrainableSentenceError(TrainingError):
    """A sentence that cannot be a target; its message is the reason under which it is counted."""


@dataclass(frozen=True)
class PaddedLabels:
    """Labels of a batch and the decoder's inputs that predict them, both int64 of shape [clips, longest]."""

    labels: NDArray[np.int64]
    decoder_input_ids: NDArray[np.int64]


def pad_labels(batch: Sequence[Sequence[int]], start_id: int, pad_id: int) -> PaddedLabels:
    """Pad labels with `IGNORED`, and shift them right behind one start token as the model would itself."""
    import numpy as np

    longest = max(len(each) for each in batch)
    labels = np.full((len(batch), longest), IGNORED, dtype=np.int64)
    for row, ids in zip(labels, batch, strict=True):
        row[: len(ids)] = ids
    inputs = np.full_like(labels, start_id)
    inputs[:, 1:] = np.where(labels[:, :-1] == IGNORED, pad_id, labels[:, :-1])
    return PaddedLabels(labels, inputs)
