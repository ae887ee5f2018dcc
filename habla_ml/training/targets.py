"""Decoder targets: a sentence as the label ids for training Whisper.

The model shifts labels right and prepends `<|startoftranscript|>` (`shift_tokens_right`), so labels begin after it:
`<|es|> <|transcribe|> <|notimestamps|> text <|endoftext|>`, or `<|nospeech|>` without text. They are built from raw ids,
because a tokenizer's own prefix adds a second start token (transformers issue 29973).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from habla_ml.errors import TrainingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LABEL_SEMANTICS = "es-transcribe-notimestamps/2"
"""Version of the label semantics, part of every run's identity. Bump it when `TargetEncoder.encode` changes."""
MAX_DECODER_POSITIONS = 448
"""Whisper's decoder positions, including prompt and end token."""
IGNORED_LABEL = -100
"""Label of a padded position: no loss."""
_NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")
"""Names of the same token in tokenizers of different years."""
_PROMPT = ("<|es|>", "<|transcribe|>", "<|notimestamps|>")
_OPENAI_TEXT_TOKENS = 50_257
"""Text tokens of OpenAI's multilingual vocabulary, in every size of Whisper."""


class TargetEncoder:
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
        self._no_speech = next((known[token] for token in _NO_SPEECH if token in known), None)
        self.end_id: int = known["<|endoftext|>"]
        self.start_id: int = known["<|startoftranscript|>"]
        self._before_text = " " if self.end_id == _OPENAI_TEXT_TOKENS else ""

    @property
    def n_pieces(self) -> int:
        """Number of text tokens; their ids are below this."""
        return self.end_id

    def encode(self, sentence: str) -> tuple[int, ...]:
        """Return the labels of one sentence; raises `UntrainableSentenceError` if it cannot be a target.

        OpenAI's models begin each text with a space, so the targets for their vocabulary do too. Hugging Face's fine-tuning
        recipe leaves it out, and whisper-base then needs 9.3 nats in place of 2.4 for the first token. The demo's base model
        was trained without the space.
        """
        text = sentence.strip()
        if not text:
            raise UntrainableSentenceError("empty sentence")
        ids = self._tokenizer.encode(f"{self._before_text}{text}", add_special_tokens=False)
        if any(each >= self.end_id for each in ids):
            raise UntrainableSentenceError("sentence holds a special token")
        labels = (*self._prompt, *ids, self.end_id)
        if len(labels) > MAX_DECODER_POSITIONS:
            raise UntrainableSentenceError(f"sentence needs more than {MAX_DECODER_POSITIONS} positions")
        return labels

    def encode_silence(self, guess: int | None = None) -> tuple[int, ...]:
        """Return the labels of non-speech: `<|nospeech|>` in place of the language, and the end token after the prompt.

        A served model gets the language in its prompt, so the tokens after the prompt count too. The decoder must not end
        there immediately (Whisper's `suppress_blank`), and faster-whisper treats a text as silence only if its
        probability is low. So some clips have one random token before the end: no token becomes likely, and a
        hallucinated text has a low probability and ends early.

        `guess` is the id of the random token. Raises `TrainingError` if the tokenizer has no token for non-speech.
        """
        if self._no_speech is None:
            raise TrainingError(
                f"the base model's tokenizer has no {_NO_SPEECH[0]}; set non_speech_share to 0 in the recipe"
            )
        ignored = [IGNORED_LABEL] * (len(self._prompt) - 1)
        return (self._no_speech, *ignored, *([] if guess is None else [guess]), self.end_id)

    def pieces(self, labels: Sequence[int]) -> tuple[int, ...]:
        """Return the text ids in labels of `encode`; empty for non-speech."""
        return () if labels[0] == self._no_speech else tuple(labels[len(self._prompt) : -1])

    def pad(self, batch: Sequence[Sequence[int]]) -> PaddedLabels:
        """Pad labels with `IGNORED_LABEL`, and shift them right after one start token to get the decoder's inputs.

        The inputs of non-speech clips have the usual prompt.
        """
        import numpy as np

        longest = max(len(each) for each in batch)
        labels = np.full((len(batch), longest), IGNORED_LABEL, dtype=np.int64)
        for row, ids in zip(labels, batch, strict=True):
            row[: len(ids)] = ids
        inputs = np.full_like(labels, self.start_id)
        inputs[:, 1:] = np.where(labels[:, :-1] == IGNORED_LABEL, self.end_id, labels[:, :-1])
        inputs[labels[:, 0] == self._no_speech, 1 : 1 + len(self._prompt)] = self._prompt
        return PaddedLabels(labels, inputs)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, without special tokens, padding and outer spaces."""
        text: str = self._tokenizer.decode([int(each) for each in ids if each >= 0], skip_special_tokens=True)
        return text.strip()


class UntrainableSentenceError(TrainingError):
    """A sentence cannot be a target; the message is the reason under which it is counted."""


@dataclass(frozen=True)
class PaddedLabels:
    """Labels of a batch and the decoder's inputs, both int64 of shape [clips, longest]."""

    labels: NDArray[np.int64]
    decoder_input_ids: NDArray[np.int64]
