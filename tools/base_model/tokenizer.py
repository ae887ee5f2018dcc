"""A Whisper tokenizer with the real special tokens and a few hundred Spanish word pieces.

The ids have the order of the multilingual Whisper: byte-level pieces, the empty string (converters recognise a
multilingual vocabulary by it), end of text, start of transcript, languages, tasks, timestamps.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import WhisperTokenizer

_TASK_TOKENS = (
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)
_N_TIMESTAMPS = 1501
_NON_SPEECH_SYMBOLS = '"#()*+/:;<=>@[\\]^_`{|}~'
_PIECES_AFTER_SPACE = ("-", "'", "â")
"""First characters of the texts " -", " '" and " ♪" as byte-level pieces.

OpenAI's decoder and those derived from it suppress the first piece of these texts. Without a piece of its own for space
and character, that is the bare space, and no word could start with it."""


def list_language_codes() -> tuple[str, ...]:
    """Return the 99 languages of Whisper up to large-v2, in the order of their ids."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    return tuple(code for code in LANGUAGES if code != "yue")


def train_tokenizer(sentences: Iterable[str], n_pieces: int) -> "WhisperTokenizer":
    """Learn byte-level pieces from sentences and append Whisper's special tokens.

    Args:
        sentences: Text in standard spelling.
        n_pieces: Number of learned pieces; at least 256, one per byte.
    """
    return build_tokenizer(*_learn_pieces(sentences, n_pieces))


def build_tokenizer(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> "WhisperTokenizer":
    """Append the pieces that decoders suppress and Whisper's special tokens to learned pieces."""
    from tokenizers import AddedToken
    from transformers import WhisperTokenizer

    vocabulary, merges = dict(vocabulary), list(merges)
    for character in _PIECES_AFTER_SPACE:
        if (piece := f"Ġ{character}") not in vocabulary:
            vocabulary[piece] = len(vocabulary)
            merges.append(("Ġ", character))
    vocabulary[""] = len(vocabulary)
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=merges)
    special = ["<|startoftranscript|>", *(f"<|{code}|>" for code in list_language_codes()), *_TASK_TOKENS]
    tokenizer.add_special_tokens(
        {"extra_special_tokens": [AddedToken(token, normalized=False, special=True) for token in special]}
    )
    stamps = [AddedToken(f"<|{step * 0.02:.2f}|>", normalized=False) for step in range(_N_TIMESTAMPS)]
    tokenizer.add_tokens(stamps)
    tokenizer.set_prefix_tokens()  # the constructor did not know the start tokens
    return tokenizer


def list_non_speech_token_ids(tokenizer: "WhisperTokenizer") -> list[int]:
    """Return ids of symbols that are never spoken, for `suppress_tokens`."""
    vocabulary = tokenizer.get_vocab()
    symbols = (*_NON_SPEECH_SYMBOLS, *(f"Ġ{character}" for character in _PIECES_AFTER_SPACE))
    return sorted(vocabulary[symbol] for symbol in symbols if symbol in vocabulary)


def _learn_pieces(sentences: Iterable[str], n_pieces: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=n_pieces,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    learner.train_from_iterator(sentences, trainer)
    model = json.loads(learner.to_str())["model"]
    return dict(model["vocab"]), [(left, right) for left, right in model["merges"]]
