"""A tiny Whisper with random weights, the real special tokens and the real 30 s geometry."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


@pytest.fixture(autouse=True, scope="package")
def no_hub() -> Iterator[None]:
    """Let no export ask the hub, also in a process that it starts. Other packages have a hub of their own."""
    from huggingface_hub import constants

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        yield


def whisper_special_tokens() -> list[str]:
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    languages = [f"<|{code}|>" for code in list(LANGUAGES)[:99]]
    return [
        "<|endoftext|>",
        "<|startoftranscript|>",
        *languages,
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
        "<|nospeech|>",
        "<|notimestamps|>",
    ]


def write_tiny_tokenizer(folder: Path, text_tokens: int) -> dict[str, int]:
    """Save a byte-level tokenizer with an empty-string token before the special tokens, like OpenAI's."""
    from tokenizers import pre_tokenizers
    from transformers import AddedToken, WhisperTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {symbol: index for index, symbol in enumerate(alphabet)}
    vocab |= {f"{alphabet[0] * 3}{index}": index for index in range(len(vocab), text_tokens - 1)}
    vocab[""] = len(vocab)
    vocab["<|endoftext|>"] = len(vocab)
    tokenizer = WhisperTokenizer(vocab=vocab, merges=[])
    tokens = [*whisper_special_tokens()[1:], *(f"<|{index * 0.02:.2f}|>" for index in range(1501))]
    special = [AddedToken(token, normalized=False, special=not token[2].isdigit()) for token in tokens]
    tokenizer.add_tokens(special)
    tokenizer.set_prefix_tokens(language="spanish", task="transcribe")
    tokenizer.save_pretrained(folder)
    return dict(tokenizer.get_vocab())


def write_tiny_checkpoint(folder: Path, text_tokens: int = 257, ffn_dim: int = 128) -> Path:
    """Save the files of transformers 5: processor_config.json and no preprocessor_config.json."""
    import torch
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )

    folder.mkdir(parents=True)
    ids = write_tiny_tokenizer(folder, text_tokens)
    torch.manual_seed(7)
    config = WhisperConfig(
        vocab_size=len(ids),
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=ffn_dim,
        decoder_ffn_dim=ffn_dim,
        num_mel_bins=80,
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<|endoftext|>"],
        decoder_start_token_id=ids["<|startoftranscript|>"],
        init_std=0.2,
    )
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):  # fresh ones are 1 and 0, and would be folded away
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.generation_config = GenerationConfig(
        lang_to_id={token: ids[token] for token in whisper_special_tokens()[2:101]},
        task_to_id={"translate": ids["<|translate|>"], "transcribe": ids["<|transcribe|>"]},
        no_timestamps_token_id=ids["<|notimestamps|>"],
        prev_sot_token_id=ids["<|startofprev|>"],
        alignment_heads=[[1, 0], [1, 1]],
        is_multilingual=True,
        max_length=448,
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<|endoftext|>"],
        decoder_start_token_id=ids["<|startoftranscript|>"],
        suppress_tokens=[ids["<|startoflm|>"]],
        begin_suppress_tokens=[ids["<|endoftext|>"]],
    )
    model.save_pretrained(folder)
    extractor = WhisperFeatureExtractor(feature_size=80)
    processor = {"feature_extractor": extractor.to_dict(), "processor_class": "WhisperProcessor"}
    processor["feature_extractor"].pop("mel_filters", None)
    (folder / "processor_config.json").write_text(json.dumps(processor, indent=2), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder as the trainer writes it; tests copy it before changing anything."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")
