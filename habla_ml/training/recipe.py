"""A recipe: how one model version is trained, as one YAML file that a person writes and a digest names.

A recipe says what to do; which voices it hears is the snapshot's business, where it runs the process's.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from habla_ml.errors import SettingsError
from habla_ml.lake import digest_of

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PACKAGE = "package:"

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Windows(_Section):
    """Short encoder windows for most steps, Whisper's full 30 s for the others.

    A clip that does not fit into the short window (with `margin_s` of silence after it) waits for a full one.
    """

    short_window_s: Annotated[float, Field(ge=1, lt=30)]
    jitter_s: Annotated[float, Field(ge=0)] = 0.64
    margin_s: Annotated[float, Field(ge=0)] = 0.5
    full_window_every: Positive = 8
    full_window_batch_size: Positive = 8

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.short_window_s + self.jitter_s > 30:
            raise ValueError(
                f"short_window_s {self.short_window_s} + jitter_s {self.jitter_s} is above Whisper's 30 s"
            )
        if self.margin_s >= self.short_window_s:
            raise ValueError(f"margin_s {self.margin_s} leaves no room in short_window_s {self.short_window_s}")
        return self


class Lora(_Section):
    """Low-rank adapters on the named projections; of the decoder only, unless `encoder` says otherwise."""

    r: Positive = 32
    alpha: Positive = 64
    dropout: Share = 0.05
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)] = ("q_proj", "v_proj")
    encoder: bool = False

    @property
    def module_pattern(self) -> str:
        """A regular expression over module names; a bare list of names would reach into the encoder too."""
        names = "|".join(re.escape(name) for name in self.target_modules)
        sides = "(encoder|decoder)" if self.encoder else "decoder"
        return rf"model\.{sides}\.layers\.\d+\.(.+\.)?({names})"


class SpecAugment(_Section):
    """Stretches of time and bands of mels hidden from the model while it trains (Park et al. 2019).

    The keys are those of Transformers' Whisper configuration; lengths are mel frames of 10 ms and mel bands.
    """

    mask_time_prob: Share = 0.05
    mask_time_length: Positive = 10
    mask_feature_prob: Share = 0.05
    mask_feature_length: Positive = 8


class Recipe(_Section):
    """How to train one version. Batch sizes count clips per optimiser step; accumulation divides them."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    base_model: str
    """`package:<folder of habla_ml>`, a path starting with `/` or `~`, or a hub id with `revision`."""
    revision: str | None = None
    method: Literal["full", "lora"] = "full"
    lora: Lora | None = None
    parts: Literal["all", "encoder"] = "all"
    """`encoder` leaves the decoder as it is: a dialect is in the sounds, the language model stays the base's."""
    base_share: Share = 0.0
    """Share of the base's weights in what is published: w = (1 - share) * trained + share * base.

    It gives back most of what was forgotten at little cost (WiSE-FT, Wortsman et al. 2022). Validation and the
    choice of the best step look at the trained weights."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)]
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    warmup_ratio: Share | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    label_smoothing: Share = 0.0
    max_steps: Positive | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None
    max_wall_s: Annotated[float, Field(gt=0)] | None = None
    """Stop at the next step after this long; such a run no longer depends on its inputs alone."""
    batch_size: Positive = 16
    gradient_accumulation: Positive = 1
    windows: Windows | None = None
    """None: every clip alone in a padded 30 s window, as it is served."""
    spec_augment: SpecAugment | None = None
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    gradient_checkpointing: bool = False
    evaluate_every_steps: Positive = 200
    early_stopping_patience: Positive = 3
    validation_clips: Positive = 256
    log_every_steps: Positive = 10
    seed: int = 20260216
    threads: Positive | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        self._check_base_model()
        if (self.method == "lora") != (self.lora is not None):
            raise ValueError(
                f"method {self.method} {'needs' if self.lora is None else 'forbids'} the section lora"
            )
        if self.parts == "encoder" and self.lora is not None:
            raise ValueError("parts encoder is for method full; name the modules of adapters in lora")
        if (self.max_steps is None) == (self.epochs is None):
            raise ValueError("exactly one of max_steps and epochs must be given")
        if self.warmup_steps is not None and self.warmup_ratio is not None:
            raise ValueError("at most one of warmup_steps and warmup_ratio can be given")
        full = self.batch_size if self.windows is None else self.windows.full_window_batch_size
        for key, clips in (("batch_size", self.batch_size), ("windows.full_window_batch_size", full)):
            if clips % self.gradient_accumulation:
                raise ValueError(
                    f"{key} {clips} is not divisible by gradient_accumulation {self.gradient_accumulation}"
                )
        return self

    def _check_base_model(self) -> None:
        if self.base_model_is_on_hub:
            if not _HUB_ID.fullmatch(self.base_model):
                raise ValueError(
                    f"base_model {self.base_model!r} is neither {_PACKAGE}<folder>, a path starting with / or ~, "
                    "nor a hub id like openai/whisper-small"
                )
            if not _COMMIT.fullmatch(self.revision or ""):
                raise ValueError(
                    f"base_model {self.base_model} is on a hub, so revision must pin a commit of 40 hex digits, "
                    f"not {self.revision!r}; a branch name moves"
                )
        elif self.revision is not None:
            raise ValueError(
                f"revision is for hub ids; {self.base_model} is known by its content: remove the line"
            )

    @property
    def base_model_is_on_hub(self) -> bool:
        """Whether the base model has to come from a model hub (or its local cache)."""
        return not self.base_model.startswith((_PACKAGE, "/", "~"))

    @property
    def digest(self) -> str:
        """sha256 of everything that steers the training; the base model counts by its content, elsewhere."""
        return digest_of(self.model_dump(mode="json", exclude={"name", "base_model", "revision"}))

    def warmup(self, steps: int) -> int:
        """Warm-up steps of a run of `steps` optimiser steps."""
        if self.warmup_steps is not None:
            return min(self.warmup_steps, steps)
        return round((self.warmup_ratio or 0.0) * steps)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; raises `SettingsError` naming the file, the key and what was expected, for every fault."""
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        known = sorted(each.name for each in path.parent.glob("*.yaml"))
        raise SettingsError(f"{path} does not exist; recipes found beside it: {known or 'none'}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(tree, dict):
        raise SettingsError(f"{path} holds {type(tree).__name__}, expected keys and values of a recipe")
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(_explain(error, path)) from None


def _explain(error: ValidationError, path: Path) -> str:
    lines = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            inner: dict[str, type[_Section]] = {"windows": Windows, "lora": Lora}
            section = inner.get(str(fault["loc"][0]), Recipe) if len(fault["loc"]) > 1 else Recipe
            expectation = f"is unknown; keys here are {', '.join(sorted(section.model_fields))}"
        elif fault["type"] == "missing":
            expectation = "is missing and has no default"
        elif not key or fault["type"] == "value_error":
            expectation = fault["msg"].removeprefix("Value error, ")
        else:
            expectation = f"is {fault['input']!r}: {fault['msg']}"
        lines.append(f"{path}: {f'key {key}: ' if key else ''}{expectation}")
    return "\n".join(lines)
