"""What whisper.cpp loads: one file of hyperparameters, mel filters, vocabulary and tensors.

The format is that of whisper.cpp's own `models/convert-h5-to-ggml.py` and of the reader in `src/whisper.cpp`
(`whisper_model_load`). whisper.cpp works out the ids of special tokens from the size of the vocabulary, so only
Whisper's own vocabularies can be converted. Matrices are stored in float16: it computes its convolutions in nothing
else, and ends the process where it finds float32 there.
"""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from habla_ml.errors import ExportError
from habla_ml.export.prepare import prepare_checkpoint
from habla_ml.export.tokenizer_vocabulary import TokenizerVocabulary, read_tokenizer_vocabulary
from habla_ml.lake import compute_sha256
from habla_ml.transcription.whisper_cpp import GGML_FILE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAGIC: Final = 0x67676D6C
_FLOAT32, _FLOAT16 = 0, 1
_LANGUAGES_BY_VOCAB_SIZE: Final = {51865: 99, 51866: 100}
"""Size of a vocabulary whose ids whisper.cpp knows → languages in it."""
_ALWAYS_FLOAT32: Final = ("encoder.positional_embedding", "decoder.positional_embedding")
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


@dataclass(frozen=True)
class GgmlArtefact:
    """A converted model.

    Attributes:
        folder: What to give to the engine whisper.cpp; it holds `ggml-model.bin`.
        size_bytes: Of the file.
        sha256: Of the file; the same checkpoint gives the same.
        repairs: What was wrong with the checkpoint and was put right before converting.
    """

    folder: Path
    size_bytes: int
    sha256: str
    repairs: tuple[str, ...]


def convert_to_ggml(
    checkpoint: Path,
    out: Path,
    progress: Callable[[str], None] | None = None,
) -> GgmlArtefact:
    """Convert a Whisper checkpoint for whisper.cpp.

    Args:
        checkpoint: A Transformers folder as the trainer left it; it is prepared on the way.
        out: A folder that does not exist yet; it appears whole or not at all.
        progress: Told one line for each step.

    Raises:
        ExportError: The checkpoint cannot be prepared, or its vocabulary is not one of Whisper's own.
    """
    if out.exists():
        raise ExportError(f"{out} exists already; an export never writes over anything. Give a new folder.")
    vocabulary = read_tokenizer_vocabulary(checkpoint / "tokenizer.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        prepared = prepare_checkpoint(checkpoint, Path(scratch) / "checkpoint", progress)
        _check_special_token_ids(vocabulary, prepared.vocab_size)
        converted = Path(scratch) / "converted"
        converted.mkdir()
        with (converted / GGML_FILE).open("wb") as file:
            _write_model(file, prepared.folder, vocabulary)
        size_bytes, sha256 = (converted / GGML_FILE).stat().st_size, compute_sha256(converted / GGML_FILE)
        converted.rename(out)
    if progress:
        progress(f"ggml: {size_bytes / 1e6:.1f} MB")
    return GgmlArtefact(out, size_bytes, sha256, prepared.repairs)


def _check_special_token_ids(vocabulary: TokenizerVocabulary, vocab_size: int) -> None:
    """Raise `ExportError` unless every special token has the id that whisper.cpp works out for it."""
    if vocab_size not in _LANGUAGES_BY_VOCAB_SIZE:
        raise ExportError(
            f"whisper.cpp works out the ids of special tokens from the size of the vocabulary: {vocab_size} is none it "
            f"knows ({', '.join(map(str, _LANGUAGES_BY_VOCAB_SIZE))}). Use the engine faster-whisper or transformers, or train "
            "from a Whisper with its own vocabulary."
        )
    after_languages = 50259 + _LANGUAGES_BY_VOCAB_SIZE[vocab_size]
    expected = {
        "<|endoftext|>": 50257,
        "<|startoftranscript|>": 50258,
        "<|en|>": 50259,
        "<|es|>": 50262,
        "<|translate|>": after_languages,
        "<|transcribe|>": after_languages + 1,
        "<|startofprev|>": after_languages + 3,
        "<|notimestamps|>": after_languages + 5,
    }
    for token, token_id in expected.items():
        if vocabulary.ids.get(token) != token_id:
            raise ExportError(
                f"{vocabulary.path} gives {token} the id {vocabulary.ids.get(token)}; whisper.cpp takes {token_id} for "
                f"a vocabulary of {vocab_size}. Use the tokenizer of the base model."
            )


def _write_model(file: IO[bytes], prepared: Path, vocabulary: TokenizerVocabulary) -> None:
    from transformers import WhisperFeatureExtractor

    config = json.loads((prepared / "config.json").read_text("utf-8"))
    numbers = (
        _MAGIC,
        config["vocab_size"],
        config["max_source_positions"],
        config["d_model"],
        config["encoder_attention_heads"],
        config["encoder_layers"],
        config["max_target_positions"],
        config["d_model"],
        config["decoder_attention_heads"],
        config["decoder_layers"],
        config["num_mel_bins"],
        _FLOAT16,
    )
    file.write(struct.pack(f"<{len(numbers)}i", *numbers))
    extractor = WhisperFeatureExtractor.from_pretrained(prepared, local_files_only=True)
    mel = extractor.mel_filters.T.astype("<f4")  # [n_mels, 201]
    file.write(struct.pack("<2i", *mel.shape))
    file.write(mel.tobytes())
    _write_tokens(file, vocabulary)
    for name, values in _iterate_tensors(prepared):
        _write_tensor(file, name, values)


def _write_tokens(file: IO[bytes], vocabulary: TokenizerVocabulary) -> None:
    """The bytes of each token of text; whisper.cpp names the special ones itself."""
    to_byte = _map_characters_to_bytes()
    end = vocabulary.ids["<|endoftext|>"]
    texts = sorted((token_id, token) for token, token_id in vocabulary.ids.items() if token_id < end)
    file.write(struct.pack("<i", len(texts)))
    for token_id, token in texts:
        try:
            raw = bytes(to_byte[character] for character in token)
        except KeyError as unknown:
            raise ExportError(
                f"token {token_id} of {vocabulary.path} holds {unknown}, which is no byte of a byte-level vocabulary; "
                "use the tokenizer of the base model."
            ) from unknown
        file.write(struct.pack("<i", len(raw)) + raw)


def _map_characters_to_bytes() -> dict[str, int]:
    """GPT-2's characters for bytes: those that print stand for themselves, the others for code points from 256."""
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printing]
    return {chr(byte): byte for byte in printing} | {chr(256 + at): byte for at, byte in enumerate(others)}


def _iterate_tensors(prepared: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    from safetensors import safe_open

    with safe_open(prepared / "model.safetensors", framework="numpy") as weights:
        for name in sorted(weights.keys()):
            if name != "proj_out.weight":  # tied to the embedding
                yield _to_ggml_name(name), weights.get_tensor(name)


def _to_ggml_name(name: str) -> str:
    """`model.decoder.layers.0.fc1.weight` → `decoder.blocks.0.mlp.0.weight`."""
    inner = name.removeprefix("model.")
    half, _, rest = inner.partition(".layers.")
    if rest:
        number, _, part = rest.partition(".")
        module, _, kind = part.rpartition(".")
        return f"{half}.blocks.{number}.{_LAYER_NAMES[module]}.{kind}"
    module, _, kind = inner.rpartition(".")
    return _TOP_LEVEL_NAMES.get(inner) or f"{_TOP_LEVEL_NAMES.get(module, module)}.{kind}"


def _write_tensor(file: IO[bytes], name: str, values: NDArray[np.float32]) -> None:
    if name in _CONV_BIASES:
        values = values.reshape(-1, 1)
    in_float32 = values.ndim < 2 or name in (*_CONV_BIASES, *_ALWAYS_FLOAT32)
    label = name.encode()
    file.write(struct.pack("<3i", values.ndim, len(label), _FLOAT32 if in_float32 else _FLOAT16))
    file.write(struct.pack(f"<{values.ndim}i", *reversed(values.shape)))
    file.write(label)
    file.write(values.astype("<f4" if in_float32 else "<f2").tobytes())
