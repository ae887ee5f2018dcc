"""The shipped base model with as many tokens as OpenAI's, so that engines that count them take it for a Whisper."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

from habla_ml_tests.evaluation.conftest import BASE_MODEL

FIRST_SPECIAL = 50257
VOCAB_SIZE = 51865


def write_full_vocabulary_checkpoint(folder: Path) -> Path:
    """Save it: tokens of text keep their ids, the special ones get Whisper's, what lies between is never written.

    The rows of the new tokens are zero, so each of them has a logit of 0, which no trained step chooses.
    """
    import torch
    from safetensors.torch import load_file, save_file

    folder.mkdir(parents=True)
    for name in ("preprocessor_config.json", "processor_config.json", "tokenizer_config.json"):
        (folder / name).write_bytes((BASE_MODEL / name).read_bytes())
    tokens = json.loads((BASE_MODEL / "tokenizer.json").read_text())
    old = tokens["model"]["vocab"]
    n_text = len(old) - 1
    assert old[""] == n_text, "the empty token stands before the special ones"
    shift = FIRST_SPECIAL - n_text - 1

    def shift_token_id(token_id: int) -> int:
        return token_id if token_id < n_text else token_id + shift

    fillers = (text for text in map("".join, product("abcdefghijklmnopqrstuvwxyz", repeat=4)) if text not in old)
    vocab = {token: shift_token_id(token_id) for token, token_id in old.items()}
    vocab |= {next(fillers): token_id for token_id in range(n_text, FIRST_SPECIAL - 1)}
    tokens["model"]["vocab"] = dict(sorted(vocab.items(), key=lambda each: each[1]))
    for each in tokens["added_tokens"]:
        each["id"] = shift_token_id(each["id"])
    for each in tokens["post_processor"]["special_tokens"].values():
        each["ids"] = [shift_token_id(token_id) for token_id in each["ids"]]
    (folder / "tokenizer.json").write_text(json.dumps(tokens))

    config = json.loads((BASE_MODEL / "config.json").read_text())
    generation = json.loads((BASE_MODEL / "generation_config.json").read_text())
    config["vocab_size"] = VOCAB_SIZE
    for content in (config, generation):
        for key, value in content.items():
            if key.endswith("_token_id"):
                content[key] = shift_token_id(value)
            elif key in ("lang_to_id", "task_to_id"):
                content[key] = {name: shift_token_id(token_id) for name, token_id in value.items()}
            elif key.endswith("suppress_tokens") and value:
                content[key] = sorted({shift_token_id(token_id) for token_id in value if token_id < len(old) + 1})
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps(generation))

    weights = load_file(BASE_MODEL / "model.safetensors")
    name = "model.decoder.embed_tokens.weight"
    rows = torch.zeros(VOCAB_SIZE, weights[name].shape[1], dtype=weights[name].dtype)
    rows[[shift_token_id(at) for at in range(len(weights[name]))]] = weights[name]
    weights.pop("proj_out.weight", None)
    save_file({**weights, name: rows}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
