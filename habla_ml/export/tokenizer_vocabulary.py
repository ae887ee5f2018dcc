"""Checks of a Whisper tokenizer before conversion.

WhisperKit, CTranslate2 and faster-whisper find special tokens by name and position, and report no missing one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from habla_ml.errors import ExportError

WHISPERKIT_VOCAB_SIZES = (51865, 51866)
"""Sizes that WhisperKit knows (multilingual models; large-v3). It treats any other as the base model's."""

_REQUIRED_TOKENS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startofprev|>",
    "<|notimestamps|>",
)
_TIMESTAMPS = 1501
"""From `<|0.00|>` to `<|30.00|>`."""
_LANGUAGE_TOKEN = re.compile(r"<\|[a-z]{2,3}\|>")


@dataclass(frozen=True)
class TokenizerVocabulary:
    """The tokens of a `tokenizer.json`."""

    path: Path
    ids: dict[str, int]
    """Token → id; contiguous from 0. The timestamps follow `<|notimestamps|>`."""

    def check_size(self, vocab_size: int) -> None:
        """Raise `ExportError` unless these are all tokens of a model, or all before the timestamps.

        OpenAI's older tokenizer files stop before the timestamps. Converters name the missing tokens correctly in this
        case only. Engines take every id after `<|notimestamps|>` for a time, and the sizes of a vocabulary decide
        which ids they use.
        """
        before_timestamps = self.ids["<|notimestamps|>"] + 1
        times, largest = vocab_size - before_timestamps, max(WHISPERKIT_VOCAB_SIZES)
        if times != _TIMESTAMPS or vocab_size > largest:
            raise ExportError(
                f"The model of {self.path} has vocab_size {vocab_size}, {times} of them after <|notimestamps|>; engines "
                f"expect at most {largest}, and exactly the {_TIMESTAMPS} timestamps there. Never extend a vocabulary: "
                "train from a Whisper with its own tokenizer."
            )
        if len(self.ids) not in (before_timestamps, vocab_size):
            raise ExportError(
                f"{self.path} has {len(self.ids)} tokens; a model of vocab_size {vocab_size} needs {vocab_size}, or "
                f"the {before_timestamps} before the timestamps. Never extend a vocabulary: use the tokenizer of the "
                "base model."
            )

    def check_timestamps(self) -> None:
        """Raise `ExportError` unless the tokenizer names the timestamps too, from `<|0.00|>` to `<|30.00|>`.

        WhisperKit takes an unknown `<|0.00|>` for `<|endoftext|>`, and then every special token for a time.
        """
        first = self.ids["<|notimestamps|>"] + 1
        if (self.ids.get("<|0.00|>"), self.ids.get("<|30.00|>")) != (first, first + _TIMESTAMPS - 1):
            raise ExportError(
                f"{self.path} has no <|0.00|> to <|30.00|> from id {first} on: WhisperKit would take every special token "
                "for a time. `habla-ml complete-base-model` adds them to a folder."
            )


def read_tokenizer_vocabulary(path: Path) -> TokenizerVocabulary:
    """Read a `tokenizer.json` and check the tokens that engines need.

    Raises:
        ExportError: The file is missing or broken, its ids have gaps, or a token that an engine needs is missing.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        ids = {str(token): int(token_id) for token, token_id in content["model"]["vocab"].items()}
        ids.update({str(added["content"]): int(added["id"]) for added in content["added_tokens"]})
    except FileNotFoundError as missing:
        raise ExportError(
            f"{path} is missing, and an engine would use another model's instead; copy it from the base model."
        ) from missing
    except (UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as broken:
        raise ExportError(
            f"{path} is not a tokenizer file ({type(broken).__name__}: {broken}); copy it from the base model."
        ) from broken
    missing_tokens = [token for token in _REQUIRED_TOKENS if token not in ids]
    if missing_tokens:
        raise ExportError(f"{path} has no {', '.join(missing_tokens)}; use the tokenizer of the base model.")
    if sorted(ids.values()) != list(range(len(ids))):
        raise ExportError(
            f"The ids of {path} are not 0 to {len(ids) - 1} without a gap; use the tokenizer of the base model."
        )
    if "" not in ids:
        raise ExportError(
            f"{path} has no empty-string token (id 50256 of OpenAI's): CTranslate2 would treat the model as "
            "English-only. Use the multilingual tokenizer of the base model."
        )
    return TokenizerVocabulary(path, ids)


def list_language_tokens(vocabulary: TokenizerVocabulary) -> dict[str, int]:
    """Return language token → id, in order of id, as in `lang_to_id` of a generation config.

    Raises:
        ExportError: There is no language token.
    """
    first = vocabulary.ids["<|startoftranscript|>"] + 1
    last = min(vocabulary.ids["<|translate|>"], vocabulary.ids["<|transcribe|>"])
    languages = {
        token: token_id
        for token, token_id in sorted(vocabulary.ids.items(), key=lambda item: item[1])
        if first <= token_id < last and _LANGUAGE_TOKEN.fullmatch(token)
    }
    if not languages:
        raise ExportError(
            f"generation_config.json has no lang_to_id and {vocabulary.path} no language tokens: copy "
            "generation_config.json from the base model."
        )
    return languages
