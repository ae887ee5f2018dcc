"""The format of whisper.cpp: one file with hyperparameters, mel filters, vocabulary and tensors.

The format is that of whisper.cpp's own `models/convert-h5-to-ggml.py` and of the reader in `src/whisper.cpp`
(`whisper_model_load`). whisper.cpp derives the ids of special tokens from the vocabulary size, so a smaller vocabulary
is padded to Whisper's. The types of the tensors are those of its program `whisper-quantize`: matrices are float16 or
quantised, convolutions float16 (whisper.cpp 1.8.5 aborts on float32), positions, biases and norms float32.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from habla_ml.errors import ExportError
from habla_ml.export.exporter import (
    ArchiveFormat,
    ConvertedModel,
    ExportAsset,
    Exporter,
    ExportOptions,
    Progress,
    SampleDecoding,
)
from habla_ml.export.prepare import prepare_checkpoint
from habla_ml.export.tokenizer_vocabulary import TokenizerVocabulary, read_tokenizer_vocabulary
from habla_ml.export.whisper_cpp.library import load_whisper_cpp
from habla_ml.export.whisper_cpp.parity import LogitBounds, find_logit_problems, measure_logit_parity
from habla_ml.export.whisper_cpp.quantise import FLOAT16, WEIGHT_TYPES, WeightType, quantise_matrix
from habla_ml.transcription.whisper_cpp import GGML_FILE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAGIC: Final = 0x67676D6C
_FLOAT32 = 0
_BOUNDS: Final = {
    "float16": LogitBounds(60.0, 0.01),
    "q8_0": LogitBounds(40.0, 0.05),
    "q5_1": LogitBounds(34.0, 0.12),
}
_TEXT_TOKENS: Final = 50257
"""Tokens before `<|endoftext|>` in Whisper's multilingual vocabularies."""
_LANGUAGES_BY_SPECIAL_TOKENS: Final = {1608: 99, 1609: 100}
"""Number of tokens from `<|endoftext|>` on → number of languages among them."""
_PADDING_LOGIT: Final = -30.0
_MAX_PADDING_WEIGHT: Final = 1000.0
"""Above it, the rounding to float16 moves the logit of a padding token noticeably."""
_EMBEDDING: Final = "model.decoder.embed_tokens.weight"
_ALWAYS_FLOAT32: Final = ("encoder.positional_embedding", "decoder.positional_embedding")
_FFN_RATIO: Final = 4
"""Width of a feed-forward layer as a multiple of d_model, which whisper.cpp assumes."""
_CONV_BIASES: Final = ("encoder.conv1.bias", "encoder.conv2.bias")
_TOP_LEVEL_NAMES: Final = {
    "encoder.layer_norm": "encoder.ln_post",
    "decoder.layer_norm": "decoder.ln",
    "encoder.embed_positions.weight": "encoder.positional_embedding",
    "decoder.embed_positions.weight": "decoder.positional_embedding",
    "decoder.embed_tokens": "decoder.token_embedding",
}
_LAYER_NAMES: Final = {
    "self_attn.k_proj": "attn.key",
    "self_attn.q_proj": "attn.query",
    "self_attn.v_proj": "attn.value",
    "self_attn.out_proj": "attn.out",
    "self_attn_layer_norm": "attn_ln",
    "encoder_attn.k_proj": "cross_attn.key",
    "encoder_attn.q_proj": "cross_attn.query",
    "encoder_attn.v_proj": "cross_attn.value",
    "encoder_attn.out_proj": "cross_attn.out",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "final_layer_norm": "mlp_ln",
}


def convert_to_ggml(checkpoint: Path, scratch: Path, options: ExportOptions, progress: Progress) -> ConvertedModel:
    """Convert a Whisper checkpoint for whisper.cpp, and run it there; see `Exporter.convert`."""
    load_whisper_cpp()
    prepared = prepare_checkpoint(checkpoint, scratch / "checkpoint", progress)
    config = json.loads((prepared.folder / "config.json").read_text("utf-8"))
    _check_widths(checkpoint, config)
    vocabulary = read_tokenizer_vocabulary(prepared.folder / "tokenizer.json")
    n_padding = _count_padding_tokens(vocabulary, prepared.vocab_size)
    if n_padding:
        progress(f"ggml: {n_padding} unused tokens added, as whisper.cpp expects {_TEXT_TOKENS} tokens of text")
    folder, weight_type, end = scratch / "model", WEIGHT_TYPES[options.quantisation], vocabulary.ids["<|endoftext|>"]
    folder.mkdir()
    model = folder / GGML_FILE
    with model.open("wb") as file:
        _write_header(file, config, prepared.vocab_size + n_padding, weight_type)
        _write_mel_filters(file, prepared.folder)
        _write_tokens(file, vocabulary, n_padding)
        for name, values in _iterate_tensors(prepared.folder, end, n_padding):
            _write_tensor(file, _to_ggml_name(name), values, weight_type)
    progress(f"ggml: {model.stat().st_size / 1e6:.1f} MB")
    parity = measure_logit_parity(model, prepared.folder, slice(end, end + n_padding), options.timeout_s, progress)
    problems = find_logit_problems(parity, _BOUNDS[options.quantisation])
    if problems:
        raise ExportError(
            f"whisper.cpp computes something else from {checkpoint} in {options.quantisation}: {' '.join(problems)} Set "
            "export.ggml_quantisation to a larger type, or check torch and pywhispercpp against constraints.txt."
        )
    return ConvertedModel(folder, prepared.repairs, {"parity": asdict(parity)})


def _count_padding_tokens(vocabulary: TokenizerVocabulary, vocab_size: int) -> int:
    """Return how many tokens to insert before `<|endoftext|>` so that every special token has whisper.cpp's id.

    Raises:
        ExportError: The special tokens are not Whisper's, or in another order.
    """
    end = vocabulary.ids["<|endoftext|>"]
    n_languages = _LANGUAGES_BY_SPECIAL_TOKENS.get(vocab_size - end)
    if n_languages is None or end > _TEXT_TOKENS:
        raise ExportError(
            f"{vocabulary.path} has {end} tokens of text and {vocab_size - end} special tokens; whisper.cpp reads at "
            f"most {_TEXT_TOKENS} and exactly {' or '.join(map(str, _LANGUAGES_BY_SPECIAL_TOKENS))}. Use another "
            "engine, or train from a multilingual Whisper with its own tokenizer."
        )
    offsets = {
        "<|startoftranscript|>": 1,
        "<|en|>": 2,
        "<|es|>": 5,
        "<|translate|>": n_languages + 2,
        "<|transcribe|>": n_languages + 3,
        "<|startofprev|>": n_languages + 5,
        "<|notimestamps|>": n_languages + 7,
    }
    for token, offset in offsets.items():
        if vocabulary.ids.get(token) != end + offset:
            raise ExportError(
                f"{vocabulary.path} gives {token} the id {vocabulary.ids.get(token)}; whisper.cpp expects "
                f"{end + offset}, {offset} after <|endoftext|>. Use the tokenizer of the base model."
            )
    return _TEXT_TOKENS - end


def _check_widths(checkpoint: Path, config: Mapping[str, Any]) -> None:
    for key in ("encoder_ffn_dim", "decoder_ffn_dim"):
        if config[key] != _FFN_RATIO * config["d_model"]:
            raise ExportError(
                f"{checkpoint} has {key} {config[key]} and d_model {config['d_model']}; whisper.cpp loads only models whose "
                f"{key} is {_FFN_RATIO} times d_model, as in every Whisper of OpenAI. Use another engine."
            )


def _write_header(file: IO[bytes], config: Mapping[str, Any], vocab_size: int, weight_type: WeightType) -> None:
    """Write the hyperparameters."""
    audio_keys = ("max_source_positions", "d_model", "encoder_attention_heads", "encoder_layers")
    text_keys = ("max_target_positions", "d_model", "decoder_attention_heads", "decoder_layers")
    sizes = (config[key] for key in (*audio_keys, *text_keys, "num_mel_bins"))
    numbers = (_MAGIC, vocab_size, *sizes, weight_type.file_type)
    file.write(struct.pack(f"<{len(numbers)}i", *numbers))


def _write_mel_filters(file: IO[bytes], prepared: Path) -> None:
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor.from_pretrained(prepared, local_files_only=True)
    mel = extractor.mel_filters.T.astype("<f4")  # [n_mels, 201]
    file.write(struct.pack("<2i", *mel.shape))
    file.write(mel.tobytes())


def _write_tokens(file: IO[bytes], vocabulary: TokenizerVocabulary, n_padding: int) -> None:
    """Write the bytes of each token of text, none for padding; whisper.cpp names the special tokens itself."""
    to_byte = _map_characters_to_bytes()
    end = vocabulary.ids["<|endoftext|>"]
    texts = sorted((token_id, token) for token, token_id in vocabulary.ids.items() if token_id < end)
    file.write(struct.pack("<i", len(texts) + n_padding))
    for token_id, token in texts:
        try:
            raw = bytes(to_byte[character] for character in token)
        except KeyError as unknown:
            raise ExportError(
                f"token {token_id} of {vocabulary.path} contains {unknown}, which is not in a byte-level vocabulary; "
                "use the tokenizer of the base model."
            ) from unknown
        file.write(struct.pack("<i", len(raw)) + raw)
    file.write(struct.pack("<i", 0) * n_padding)


def _map_characters_to_bytes() -> dict[str, int]:
    """Return GPT-2's byte alphabet: a printing character is its own byte, code points from 256 are the others."""
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printing]
    return {chr(byte): byte for byte in printing} | {chr(256 + at): byte for at, byte in enumerate(others)}


def _iterate_tensors(prepared: Path, end: int, n_padding: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield name and values, sorted by name; the embedding gets `n_padding` rows before row `end`."""
    import numpy as np
    from safetensors import safe_open

    with safe_open(prepared / "model.safetensors", framework="numpy") as weights:
        for name in sorted(weights.keys()):
            values = weights.get_tensor(name)
            if name == _EMBEDDING and n_padding:
                norm = "model.decoder.layer_norm"
                row = _compute_padding_row(weights.get_tensor(f"{norm}.weight"), weights.get_tensor(f"{norm}.bias"))
                values = np.concatenate([values[:end], np.tile(row, (n_padding, 1)), values[end:]])
            if name != "proj_out.weight":  # tied to the embedding
                yield name, values


def _compute_padding_row(gamma: NDArray[np.float32], beta: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an embedding row whose logit is `_PADDING_LOGIT` for every input, so that it is never decoded.

    The last layer norm computes h = gamma·x + beta, and x sums to 0. For the row c / gamma, the logit row·h is therefore
    c·sum(beta / gamma), independent of x.
    """
    row = _PADDING_LOGIT / float((beta / gamma).sum()) / gamma
    if not abs(row).max() <= _MAX_PADDING_WEIGHT:
        raise ExportError(
            "the vocabulary cannot be padded to the size that whisper.cpp expects, because the decoder's last layer norm "
            "has almost no bias; use another engine, or train from a multilingual Whisper with its own tokenizer"
        )
    return row


def _to_ggml_name(name: str) -> str:
    """Map `model.decoder.layers.0.fc1.weight` to `decoder.blocks.0.mlp.0.weight`."""
    inner = name.removeprefix("model.")
    half, _, rest = inner.partition(".layers.")
    if rest:
        number, _, part = rest.partition(".")
        module, _, kind = part.rpartition(".")
        return f"{half}.blocks.{number}.{_LAYER_NAMES[module]}.{kind}"
    module, _, kind = inner.rpartition(".")
    return _TOP_LEVEL_NAMES.get(inner) or f"{_TOP_LEVEL_NAMES.get(module, module)}.{kind}"


def _write_tensor(file: IO[bytes], name: str, values: NDArray[np.float32], weight_type: WeightType) -> None:
    if name in _CONV_BIASES:
        values = values.reshape(-1, 1)
    if values.ndim < 2 or name in (*_CONV_BIASES, *_ALWAYS_FLOAT32):
        tensor_type, data = _FLOAT32, values.astype("<f4").tobytes()
    elif values.ndim == 2 and weight_type != FLOAT16:
        tensor_type, data = weight_type.tensor_type, quantise_matrix(name, values, weight_type)
    else:
        tensor_type, data = FLOAT16.tensor_type, values.astype("<f2").tobytes()
    label = name.encode()
    file.write(struct.pack("<3i", values.ndim, len(label), tensor_type))
    file.write(struct.pack(f"<{values.ndim}i", *reversed(values.shape)))
    file.write(label)
    file.write(data)


GGML: Final = Exporter(
    name="ggml",
    title="GGML model",
    stored_as="tree",
    quantisations=tuple(WEIGHT_TYPES),
    convert=convert_to_ggml,
    configured_quantisation=lambda settings: settings.ggml_quantisation,
    asset=ExportAsset(
        name="ggml_model",
        description="The checkpoint for whisper.cpp: one file, executed there and compared with the checkpoint.",
        kinds=frozenset({"ggml"}),
        summarise=lambda export: {"logit PSNR dB": float(export.details["parity"]["logit_psnr_db"])},
    ),
    describe_archive=lambda export: ArchiveFormat("ggml", parity=export.details["parity"]),
    sample_decoding=SampleDecoding("whisper.cpp"),
)
