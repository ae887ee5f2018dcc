"""Decoder targets: a sentence as the label ids for training Whisper.

The model shifts labels right and prepends `<|startoftranscript|>` (`shift_tokens_right`), so labels begin after it:
`<|es|> <|transcribe|> <|notimestamps|> text <|endoftext|>`, or `<|nospeech|>` without text. They are built from raw ids,
because a tokenizer's own prefix adds a second start token (transformers issue 29973).

With timestamps they are `<|es|> <|transcribe|> <|0.20|> text<|2.40|><|endoftext|>`, in steps of 0.02 s. A text before is
`<|startofprev|> text` in front of the start token, without loss.
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
TIMED_LABEL_SEMANTICS = "es-transcribe-timestamps/1"
"""The same of `TargetEncoder.add_times`, for recipes with `timestamps_share`."""
PROMPT_SEMANTICS = "startofprev/1"
"""The same of the text before, for recipes with `previous_text_share`."""
STEPS_PER_S = 50
"""Timestamps in a second."""
LAST_STEP = 1500
"""The last timestamp, `<|30.00|>`."""
MAX_DECODER_POSITIONS = 448
"""Whisper's decoder positions, including prompt and end token."""
IGNORED_LABEL = -100
"""Label of a padded position: no loss."""
_NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")
"""Names of the same token in tokenizers of different years."""
_PROMPT = ("<|es|>", "<|transcribe|>", "<|notimestamps|>")
_OPENAI_TEXT_TOKENS = 50_257
"""Text tokens of OpenAI's multilingual vocabulary, in every size of Whisper."""
_FIRST_TIMESTAMP, _LAST_TIMESTAMP = "<|0.00|>", "<|30.00|>"
_START_OF_PREVIOUS = "<|startofprev|>"
PROMPT_POSITIONS = 1 + len(_PROMPT)
"""Decoder positions before the text: the start token and the prompt."""


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
        self._timestamps: tuple[int | None, int | None] = (known.get(_FIRST_TIMESTAMP), known.get(_LAST_TIMESTAMP))
        self._previous: tuple[int, ...] = (known[_START_OF_PREVIOUS],) if _START_OF_PREVIOUS in known else ()
        self.end_id: int = known["<|endoftext|>"]
        self.start_id: int = known["<|startoftranscript|>"]
        self._before_text = " " if self.end_id == _OPENAI_TEXT_TOKENS else ""

    @property
    def no_speech_id(self) -> int | None:
        """Id of `<|nospeech|>`; None if the tokenizer has none."""
        return self._no_speech

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

    def require_timestamps(self) -> int:
        """Return the id of `<|0.00|>`; raises `TrainingError` if the tokenizer lacks Whisper's 1501 timestamps."""
        first, last = self._timestamps
        if first is None or last is None or last - first != LAST_STEP:
            raise TrainingError(
                f"the base model's tokenizer lacks the timestamps {_FIRST_TIMESTAMP} to {_LAST_TIMESTAMP}; set "
                "timestamps_share to 0 in the recipe, or add them with `habla-ml complete-base-model`"
            )
        return first

    def require_previous_text(self) -> None:
        """Raise `TrainingError` if the tokenizer has no token in front of a previous text."""
        if not self._previous:
            raise TrainingError(
                f"the base model's tokenizer has no {_START_OF_PREVIOUS}; set previous_text_share to 0 in the recipe"
            )

    def add_times(self, labels: Sequence[int], start: int, end: int) -> list[int]:
        """Return labels with the times of the speech, in steps of 0.02 s from the start of the clip.

        Non-speech ends after `<|0.00|>`, where a decoder that writes timestamps begins.
        """
        first = self.require_timestamps()
        if labels[0] == self._no_speech:
            return [*labels[:2], first, *labels[3:]]
        return [*labels[:2], first + start, *labels[3:-1], first + end, labels[-1]]

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

    def pad(self, batch: Sequence[Sequence[int]], prompts: Sequence[Sequence[int]] | None = None) -> PaddedLabels:
        """Pad labels with `IGNORED_LABEL`, and shift them right after one start token to get the decoder's inputs.

        The inputs of non-speech clips have the usual prompt. `prompts` has the text ids before each clip; empty for none.
        """
        import numpy as np

        before = [[*self._previous, *each] if each else [] for each in prompts or [()] * len(batch)]
        longest = max(len(ids) + len(text) for ids, text in zip(batch, before, strict=True))
        labels = np.full((len(batch), longest), IGNORED_LABEL, dtype=np.int64)
        inputs = np.full_like(labels, self.end_id)
        for label_row, input_row, ids, text in zip(labels, inputs, batch, before, strict=True):
            label_row[len(text) : len(text) + len(ids)] = ids
            input_row[: len(text) + len(ids)] = [*text, self.start_id, *self._to_inputs(ids[:-1])]
        return PaddedLabels(labels, inputs)

    def _to_inputs(self, labels: Sequence[int]) -> list[int]:
        """Return the decoder's inputs after the start token: the labels, with the prompt in front of non-speech."""
        if not labels or labels[0] != self._no_speech:
            return list(labels)
        opening = self._prompt[2] if labels[2] == IGNORED_LABEL else labels[2]
        return [*self._prompt[:2], opening, *labels[3:]]

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
