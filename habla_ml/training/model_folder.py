"""Model files: loading a base model, adding adapters, and writing the folder to publish."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from habla_ml.errors import TrainingError
from habla_ml.training.base_model import TOKENIZER_FILES, WhisperBaseModel
from habla_ml.training.recipe import Lora, Recipe
from habla_ml.training.small_memory import build_quantisation_options


def load_tokenizer(base: WhisperBaseModel) -> Any:
    """Load the base model's `WhisperTokenizer`."""
    from transformers import WhisperTokenizer

    return WhisperTokenizer.from_pretrained(base.folder)


def load_feature_extractor(base: WhisperBaseModel) -> Any:
    """Load the base model's feature extractor, or the default one with the model's mel bands."""
    from transformers import WhisperFeatureExtractor

    if (base.folder / "preprocessor_config.json").exists():
        return WhisperFeatureExtractor.from_pretrained(base.folder)
    config = json.loads((base.folder / "config.json").read_text("utf-8"))
    return WhisperFeatureExtractor(feature_size=config["num_mel_bins"])


def load_whisper_model(folder: Path, **options: Any) -> Any:
    """Load a Whisper model in float32; raises `TrainingError` for another model type. `options` are of Transformers."""
    import torch
    from transformers import WhisperForConditionalGeneration

    kind = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
    if kind != "whisper":
        raise TrainingError(f"{folder}/config.json has model_type {kind!r}; only 'whisper' can be fine-tuned")
    return WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, **options)


def prepare_trainable_model(recipe: Recipe, start: Path) -> Any:
    """Load the model in `start` for training by the recipe's method, with generation in Spanish for validation."""
    model = load_whisper_model(start, **build_quantisation_options(recipe))
    model.generation_config.language = "es"
    model.generation_config.task = "transcribe"
    model.generation_config.forced_decoder_ids = None
    model.config.apply_spec_augment = False  # the clips of a batch have masks of their own
    if recipe.parts == "encoder":
        model.model.decoder.requires_grad_(False)
    return model if recipe.lora is None else _add_adapters(model, recipe.lora)


def _add_adapters(model: Any, lora: Lora) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.module_pattern, bias="none"
    )
    try:
        with _ignore_renamed_attribute():
            return get_peft_model(model, config)
    except ValueError as error:
        raise TrainingError(
            f"lora.target_modules {list(lora.target_modules)} match no module of the model: {error}; "
            "use some of q_proj, k_proj, v_proj, out_proj, fc1 and fc2"
        ) from error


@contextmanager
def _ignore_renamed_attribute() -> Iterator[None]:
    """Hide the warning that peft 0.21 reads an attribute which transformers 5.23 renamed; the value is the same."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def load_trained_model(checkpoint: Path, start: Path) -> Any:
    """Load the weights of a checkpoint in float32; its adapters, if it has any, are merged into the model in `start`."""
    if not (checkpoint / "adapter_config.json").exists():
        return load_whisper_model(checkpoint)
    from peft import PeftModel

    with _ignore_renamed_attribute():
        return PeftModel.from_pretrained(load_whisper_model(start), checkpoint).merge_and_unload()


def write_model_folder(checkpoint: Path, start: Path, base: WhisperBaseModel, base_share: float, folder: Path) -> None:
    """Write a folder with everything that converters and servers need, and no training state, byte for byte reproducible.

    Configs and tokenizer are copies of the base's files, because loading and saving them loses fields or adds those of
    the library version.

    `checkpoint` has the trained weights, or adapters that are merged into the model in `start`. `base` is the recipe's
    base model, also after a first stage. `folder` must not exist.
    """
    import torch

    model = load_trained_model(checkpoint, start)
    if base_share:
        with torch.no_grad():
            originals = load_whisper_model(base.folder).parameters()
            for trained, original in zip(model.parameters(), originals, strict=True):
                trained.lerp_(original, base_share)
    folder.mkdir(parents=True)
    model.save_pretrained(folder, max_shard_size="1TB")
    write_base_files(base, folder)


def write_base_files(base: WhisperBaseModel, folder: Path) -> None:
    """Write everything of a published model but its weights: copies of the base's configs and tokenizer."""
    # With `_from_model_config`, transformers 5 drops lang_to_id and other fields on loading.
    for name, dropped, added in (
        ("config.json", "torch_dtype", {"dtype": "float32"}),
        ("generation_config.json", "_from_model_config", {}),
    ):
        value = json.loads((base.folder / name).read_text("utf-8")) | added
        value.pop(dropped, None)
        (folder / name).write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
    load_feature_extractor(base).save_pretrained(folder)
    for name in TOKENIZER_FILES:
        if (base.folder / name).exists():
            shutil.copyfile(base.folder / name, folder / name)
    for path in folder.iterdir():
        path.chmod(0o644)
