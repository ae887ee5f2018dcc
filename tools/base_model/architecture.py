"""Architecture of the base model: a small Whisper."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from tools.base_model.tokenizer import list_language_codes, list_non_speech_token_ids

if TYPE_CHECKING:
    from transformers import GenerationConfig, WhisperForConditionalGeneration, WhisperTokenizer

D_MODEL = 160
ENCODER_LAYERS = 4
DECODER_LAYERS = 2
ATTENTION_HEADS = 4
_SHORTEST_PERIOD, _LONGEST_PERIOD = 3, 12
"""Periods of the timestamps' sinusoids, powers of two in steps of 0.02 s: 0.16 to 82 s."""


def create_base_model(tokenizer: "WhisperTokenizer") -> "WhisperForConditionalGeneration":
    """Create a Whisper with about 2.8 million random parameters: 80 mels, 30 s, 448 tokens."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    end, start = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|startoftranscript|>"])
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=80,
        d_model=D_MODEL,
        encoder_layers=ENCODER_LAYERS,
        encoder_attention_heads=ATTENTION_HEADS,
        encoder_ffn_dim=4 * D_MODEL,
        decoder_layers=DECODER_LAYERS,
        decoder_attention_heads=ATTENTION_HEADS,
        decoder_ffn_dim=4 * D_MODEL,
        max_source_positions=1500,
        max_target_positions=448,
        dropout=0.0,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = make_generation_config(tokenizer)
    return model


def set_timestamps(model: "WhisperForConditionalGeneration", first: int) -> None:
    """Give neighbouring timestamps similar embeddings: sinusoids of the time, with the size of the other embeddings.

    They are the output's weights too. Random ones would have to be learned one by one, and most times are rare.

    Args:
        model: Its weights are changed.
        first: Id of `<|0.00|>`; the timestamps end the vocabulary.
    """
    import torch

    weights = model.model.decoder.embed_tokens.weight
    with torch.no_grad():
        steps = torch.arange(len(weights) - first, dtype=torch.float32)
        periods = torch.logspace(_SHORTEST_PERIOD, _LONGEST_PERIOD, weights.shape[1] // 2, base=2.0)
        angles = 2 * math.pi * steps[:, None] / periods
        waves = torch.cat([angles.sin(), angles.cos()], 1)
        weights[first:] = waves * (weights[:first].norm(dim=1).mean() / waves.norm(dim=1).mean())


def make_generation_config(tokenizer: "WhisperTokenizer") -> "GenerationConfig":
    """Create the configuration for generation and conversion: languages, tasks, timestamps, alignment heads."""
    from transformers import GenerationConfig

    def token_id(token: str) -> int:
        found = tokenizer.convert_tokens_to_ids(token)
        if not isinstance(found, int) or found == tokenizer.unk_token_id != tokenizer.eos_token_id:
            raise KeyError(token)
        return found

    end = token_id("<|endoftext|>")
    return GenerationConfig(
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=token_id("<|startoftranscript|>"),
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": token_id(f"<|{code}|>") for code in list_language_codes()},
        task_to_id={task: token_id(f"<|{task}|>") for task in ("transcribe", "translate")},
        no_timestamps_token_id=token_id("<|notimestamps|>"),
        prev_sot_token_id=token_id("<|startofprev|>"),
        alignment_heads=[[DECODER_LAYERS - 1, head] for head in range(ATTENTION_HEADS)],
        suppress_tokens=list_non_speech_token_ids(tokenizer),
        begin_suppress_tokens=[token_id("Ġ"), end],
        max_initial_timestamp_index=50,
        max_length=448,
        return_timestamps=False,
    )


def load_base_model(folder: Path) -> "tuple[WhisperTokenizer, WhisperForConditionalGeneration]":
    """Load tokenizer and model of a folder that `save_base_model` wrote, with float32 weights for training."""
    import torch
    from transformers import WhisperForConditionalGeneration, WhisperTokenizer

    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    model.train()
    tokenizer = WhisperTokenizer.from_pretrained(folder, local_files_only=True)
    for argument in ("is_local", "local_files_only"):  # would be saved with the tokenizer
        tokenizer.init_kwargs.pop(argument, None)
    return tokenizer, model


def save_base_model(model: "WhisperForConditionalGeneration", tokenizer: "WhisperTokenizer", folder: Path) -> None:
    """Write everything that `from_pretrained` and the converters read; weights in float16."""
    import copy

    import torch
    from transformers import WhisperFeatureExtractor, WhisperProcessor

    folder.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(model).to(torch.float16).save_pretrained(folder)
    extractor = WhisperFeatureExtractor()
    WhisperProcessor(extractor, tokenizer).save_pretrained(folder)
    extractor.save_pretrained(folder)
    for written in folder.iterdir():
        written.chmod(0o644)
