"""A vocabulary that engines would misread is refused with the reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from habla_ml.errors import ExportError
from habla_ml.export.coreml.convert import convert_to_coreml
from habla_ml.export.coreml.target import COREML_TARGETS
from habla_ml.export.tokenizer_vocabulary import read_tokenizer_vocabulary
from habla_ml_tests.testing.export_checkpoint import ignore_progress


def remove_timestamps(checkpoint: Path) -> None:
    path = checkpoint / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["added_tokens"] = [each for each in content["added_tokens"] if not each["content"][2].isdigit()]
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_tokenizer_that_ends_before_the_timestamps_is_refused_for_the_phone_only(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    checkpoint = Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))
    vocab_size = len(read_tokenizer_vocabulary(checkpoint / "tokenizer.json").ids)
    remove_timestamps(checkpoint)
    vocabulary = read_tokenizer_vocabulary(checkpoint / "tokenizer.json")
    assert len(vocabulary.ids) == vocab_size - 1501
    vocabulary.check_size(vocab_size)
    with pytest.raises(
        ExportError, match=r"no <\|0\.00\|> to <\|30\.00\|> from id 364 on: WhisperKit would take every"
    ):
        convert_to_coreml(checkpoint, tmp_path / "out", COREML_TARGETS["iOS16"], ignore_progress)
    assert not list((tmp_path / "out").glob("*.mlpackage"))


@pytest.mark.parametrize("tokens", [-1, 7])
def test_tokens_after_the_timestamps_are_refused(tiny_checkpoint: Path, tokens: int) -> None:
    vocabulary = read_tokenizer_vocabulary(tiny_checkpoint / "tokenizer.json")
    vocab_size = len(vocabulary.ids)
    vocabulary.check_size(vocab_size)
    with pytest.raises(ExportError, match=f"{1501 + tokens} of them after .*exactly the 1501 timestamps"):
        vocabulary.check_size(vocab_size + tokens)


@pytest.mark.long
def test_more_words_than_whispers_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    content = json.loads((tiny_checkpoint / "tokenizer.json").read_text(encoding="utf-8"))
    added = 51_866
    content["model"]["vocab"] = {
        **{f"word{index}": index for index in range(added)},
        **{token: index + added for token, index in content["model"]["vocab"].items()},
    }
    content["added_tokens"] = [{**each, "id": each["id"] + added} for each in content["added_tokens"]]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    vocabulary = read_tokenizer_vocabulary(path)
    with pytest.raises(ExportError, match=r"expect at most 51866.*Never extend a vocabulary"):
        vocabulary.check_size(len(vocabulary.ids))
