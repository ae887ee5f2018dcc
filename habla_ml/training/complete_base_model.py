"""Complete a base model as people have it, so that training, converters and servers can read it.

Weights in several files or in the older `pytorch_model.bin` become one `model.safetensors`. `vocab.json` with
`merges.txt` becomes a `tokenizer.json`, which gets the timestamps that older files lack. Missing generation settings are
written from the tokenizer.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from habla_ml.errors import TrainingError
from habla_ml.training.base_model import COPIED_FILES, find_faults

SOURCE_FILES: Final = (*COPIED_FILES, "*.safetensors", "pytorch_model*.bin", "*.index.json")
"""Patterns of the files of a hub model that can be completed."""
_TASKS: Final = ("transcribe", "translate")
_REQUIRED_TOKENS: Final = ("<|startoftranscript|>", "<|endoftext|>", "<|es|>", "<|transcribe|>", "<|notimestamps|>")
_TIMESTAMPS: Final = tuple(f"<|{step * 0.02:.2f}|>" for step in range(1501))
"""From 0 to 30 s in steps of 0.02 s."""


def complete_base_model(source: Path, out: Path) -> tuple[str, ...]:
    """Write a complete Whisper folder and return what was completed, one sentence each.

    Args:
        source: A folder with `config.json`, the weights in any form that Transformers saves, and a tokenizer.
        out: The new folder; it must not exist.

    Raises:
        TrainingError: The folder is no Whisper model, is an adapter, or lacks what no other file supplies.
    """
    if out.exists():
        raise TrainingError(f"{out} exists already and is not overwritten; name a new folder")
    if (source / "adapter_config.json").exists():
        raise TrainingError(
            f"{source} is an adapter without its base model; merge it with peft's merge_and_unload and save the result"
        )
    config = _read_config(source)
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        for name in COPIED_FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, unfinished / name)
        done = (
            *_complete_weights(source, unfinished),
            *_complete_tokenizer(source, unfinished, int(config["vocab_size"])),
            *_complete_generation_config(source, unfinished),
        )
        if faults := find_faults(unfinished):
            raise TrainingError(f"{source} cannot be completed: {'; '.join(faults)}")
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return done


def _read_config(source: Path) -> Mapping[str, Any]:
    path = source / "config.json"
    config = _read_json(path)
    if config.get("model_type") != "whisper":
        raise TrainingError(f"{path} has model_type {config.get('model_type')!r}; only 'whisper' can be fine-tuned")
    return config


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise TrainingError(f"{path} does not exist; copy it from where the model was downloaded") from None
    except ValueError as error:
        raise TrainingError(f"{path} is not JSON ({error}); download it again") from None
    if not isinstance(value, dict):
        raise TrainingError(f"{path} has a {type(value).__name__}, expected an object; download it again")
    return value


def _complete_weights(source: Path, out: Path) -> Iterator[str]:
    """Write all weights to one file in their own precision, if they are in another form."""
    if (source / "model.safetensors").is_file():
        shutil.copyfile(source / "model.safetensors", out / "model.safetensors")
        return
    from transformers import WhisperForConditionalGeneration

    try:
        # A `.bin` file is a pickle; Transformers reads only tensors from it.
        model, found = WhisperForConditionalGeneration.from_pretrained(
            source, dtype="auto", output_loading_info=True, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise TrainingError(f"the weights of {source} cannot be read ({error}); download them again") from error
    if found["missing_keys"]:
        missing = sorted(found["missing_keys"])
        raise TrainingError(f"{source} lacks {len(missing)} weights, such as {missing[0]}; download it again")
    model.save_pretrained(out, max_shard_size="1TB")
    for name in ("config.json", "generation_config.json"):  # saved again with the fields of this library version
        (out / name).unlink(missing_ok=True)
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)
    yield "the weights are now in one file, model.safetensors"


def _complete_tokenizer(source: Path, out: Path, vocab_size: int) -> Iterator[str]:
    """Write `tokenizer.json` if it is missing, with all timestamps."""
    if (source / "tokenizer.json").is_file():
        yield from _add_timestamps(out / "tokenizer.json", vocab_size)
        return
    missing = [name for name in ("vocab.json", "merges.txt") if not (source / name).is_file()]
    if missing:
        raise TrainingError(
            f"{source} has no tokenizer.json and no {' and no '.join(missing)}; copy the tokenizer's files from the "
            "model that it was fine-tuned from"
        )
    from transformers import WhisperTokenizer

    tokenizer = WhisperTokenizer.from_pretrained(source, local_files_only=True)
    known = tokenizer.get_vocab()
    if lacking := [each for each in _REQUIRED_TOKENS if each not in known]:
        raise TrainingError(
            f"the tokenizer of {source} lacks {', '.join(lacking)}; copy added_tokens.json and special_tokens_map.json "
            "from the model that it was fine-tuned from"
        )
    tokenizer.save_pretrained(out)
    _mark_special_tokens(out / "tokenizer.json")
    list(_add_timestamps(out / "tokenizer.json", vocab_size))
    yield "tokenizer.json was written from vocab.json, merges.txt and the added tokens"


def _add_timestamps(path: Path, vocab_size: int) -> Iterator[str]:
    """Name the timestamps in a `tokenizer.json` that ends before them, as files of 2022 and 2023 do.

    The model has them in any case. A vocabulary without exactly their number of ids after `<|notimestamps|>` is left as it is.
    """
    content = _read_json(path)
    try:
        tokens = {**content["model"]["vocab"], **{each["content"]: each["id"] for each in content["added_tokens"]}}
        first = len(tokens)
        is_cut = first == tokens["<|notimestamps|>"] + 1 == vocab_size - len(_TIMESTAMPS)
    except (KeyError, TypeError) as error:
        raise TrainingError(f"{path.name} is no tokenizer of Whisper ({error}); download it again") from error
    if not is_cut:
        return
    # The same fields as in OpenAI's tokenizer on the Hub: not special, so that a decoder can return them.
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    content["added_tokens"] += [{"id": first + at, "content": token, **flags} for at, token in enumerate(_TIMESTAMPS)]
    path.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    yield f"tokenizer.json got the timestamps <|0.00|> to <|30.00|>, ids {first} to {first + len(_TIMESTAMPS) - 1}"


def _mark_special_tokens(path: Path) -> None:
    """Mark the control tokens as special, so that decoding leaves them out; timestamps are ordinary tokens."""
    content = _read_json(path)
    for token in content["added_tokens"]:
        is_timestamp = token["content"].startswith("<|") and token["content"][2:3].isdigit()
        token["special"] = not is_timestamp
        token["normalized"] = False
    path.write_text(json.dumps(content, ensure_ascii=False), "utf-8")


def _complete_generation_config(source: Path, out: Path) -> Iterator[str]:
    """Write the fields that generation in a chosen language needs, if they are missing."""
    path = out / "generation_config.json"
    has_file = (source / path.name).is_file()
    content = _read_json(source / path.name) if has_file else {}
    if content.get("lang_to_id") and content.get("task_to_id"):
        return
    from transformers import WhisperTokenizer
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    ids = WhisperTokenizer.from_pretrained(out, local_files_only=True).get_vocab()
    config = _read_json(source / "config.json")
    generated = {
        "alignment_heads": None,
        "begin_suppress_tokens": config.get("begin_suppress_tokens"),
        "bos_token_id": ids["<|endoftext|>"],
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        "eos_token_id": ids["<|endoftext|>"],
        "max_initial_timestamp_index": 50,
        "max_length": config.get("max_target_positions", 448),
        "pad_token_id": ids["<|endoftext|>"],
        "return_timestamps": False,
        "suppress_tokens": config.get("suppress_tokens"),
    }
    required = {
        "is_multilingual": True,
        "lang_to_id": {f"<|{code}|>": ids[f"<|{code}|>"] for code in LANGUAGES if f"<|{code}|>" in ids},
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "task_to_id": {task: ids[f"<|{task}|>"] for task in _TASKS if f"<|{task}|>" in ids},
    }
    present = {key: value for key, value in generated.items() if value is not None}
    merged = {**present, **content, **required}
    merged.pop("forced_decoder_ids", None)  # they contradict a chosen language
    path.write_text(json.dumps(merged, indent=2, sort_keys=True) + "\n", "utf-8")
    yield (
        "generation_config.json got its languages and tasks from the tokenizer"
        if has_file
        else "generation_config.json was written from the tokenizer and config.json"
    )
