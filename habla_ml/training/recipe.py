"""A recipe: how to train one model version, as a YAML file with a digest.

The snapshot determines the training data, and the process determines the machine.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from habla_ml.errors import SettingsError
from habla_ml.lake import compute_digest
from habla_ml.settings.hub import HubName
from habla_ml.settings.yaml_files import format_validation_errors, read_mapping
from habla_ml.training.augmentation import Augmentation
from habla_ml.training.trackers import Tracker

_HUB_ID_PATTERN = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT_PATTERN = re.compile(r"[0-9a-f]{40}")
_PACKAGE_PREFIX = "package:"

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]
AboveZero = Annotated[float, Field(gt=0)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
LearningRate = Annotated[float, Field(gt=0, lt=1)]
TrainingMethod = Literal["full", "lora"]
TrainedParts = Literal["all", "encoder"]
LearningRateSchedule = Literal["linear", "cosine"]

_LENGTH_KEYS: Final = {"epochs", "min_steps", "max_steps", "max_wall_s"}
_VERSION_KEYS: Final = {"first_stage", "start", "base_share", "train_share", "report_to", "validation_bounds"}
"""Keys that a first stage does not inherit."""
_KEYS_OF_ONE_DECISION: Final = (
    {"warmup_steps", "warmup_ratio"},
    {"method", "lora", "parts"},
    {"evaluations_per_epoch", "min_evaluations", "evaluate_every_steps"},
)
"""Keys that belong together: a first stage that sets one of them inherits none of them."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Windows(_Section):
    """Encoder windows: as long as the longest clip of a batch, and Whisper's full 30 s for a share of the input."""

    step_s: Annotated[float, Field(ge=0.02, le=30)] = 0.64
    """Windows are multiples of this: few lengths let clips vary within a batch, many lengths save padding."""
    margin_s: NotNegative = 0.32
    """Least silence after a clip."""
    full_share: Annotated[float, Field(ge=0, le=1)] = 0.06
    """Share of the encoder's input in windows of 30 s, as in serving. 1 pads every clip to 30 s."""

    @model_validator(mode="after")
    def _check_windows(self) -> Self:
        if abs(self.step_s / 0.02 - round(self.step_s / 0.02)) > 1e-6:
            raise ValueError(f"step_s {self.step_s} is no multiple of 0.02 s, the length of an encoder position")
        return self


class Lora(_Section):
    """Low-rank adapters on the named projections of the decoder and, unless `encoder` is false, of the encoder."""

    r: Positive = 32
    alpha: Positive = 64
    dropout: ShareBelowOne = 0.05
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)] = ("q_proj", "v_proj")
    encoder: bool = True
    """Whether the encoder has adapters too: a dialect is mostly in the sounds."""

    @property
    def module_pattern(self) -> str:
        """Regular expression over module names; a plain list of names would match the encoder too."""
        names = "|".join(re.escape(name) for name in self.target_modules)
        sides = "(encoder|decoder)" if self.encoder else "decoder"
        return rf"model\.{sides}\.layers\.\d+\.(.+\.)?({names})"


class SpecAugment(_Section):
    """SpecAugment (Park et al. 2019): masked time spans and mel bands of the clips during training.

    The keys are those of Transformers' Whisper configuration; lengths are in mel frames of 10 ms and in mel bands. Padding is
    never masked.
    """

    mask_time_prob: ShareBelowOne = 0.05
    mask_time_length: Positive = 10
    mask_feature_prob: ShareBelowOne = 0.05
    mask_feature_length: Positive = 8


class ValidationBounds(_Section):
    """What the best checkpoint must not do besides few errors in class: forget general speech and invent text."""

    general_clips: Positive = 32
    """Most clips of `training.replay` that are kept from the training, at most a tenth of them."""
    most_forgetting: NotNegative = 0.02
    """Highest WER on general speech above that of the model that the run starts from, 0.02 for two points."""
    non_speech_clips: Positive = 24
    """Clips without speech: those of the validation split that people marked, then synthesised ones."""
    most_invented: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Highest share of clips without speech for which text is served."""


class FirstStage(_Section):
    """Training on general speech before the classroom data: the differences from the recipe.

    Missing keys are inherited from the recipe, except the length: `epochs` or `max_steps` is required. Keys that belong
    together (warmup_steps and warmup_ratio; method, lora and parts) are replaced together.
    """

    method: TrainingMethod | None = None
    lora: Lora | None = None
    parts: TrainedParts | None = None
    learning_rate: LearningRate | None = None
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    warmup_ratio: ShareBelowOne | None = None
    lr_schedule: LearningRateSchedule | None = None
    weight_decay: NotNegative | None = None
    max_gradient_norm: AboveZero | None = None
    label_smoothing: ShareBelowOne | None = None
    epochs: AboveZero | None = None
    min_steps: Positive | None = None
    max_steps: Positive | None = None
    max_wall_s: AboveZero | None = None
    batch_s: AboveZero | None = None
    gradient_accumulation: Positive | None = None
    windows: Windows | None = None
    augmentation: Augmentation | None = None
    spec_augment: SpecAugment | None = None
    evaluations_per_epoch: AboveZero | None = None
    min_evaluations: Positive | None = None
    evaluate_every_steps: Positive | None = None
    early_stopping_patience: Positive | None = None
    average_checkpoints: Positive | None = None
    validation_clips: Positive | None = None


class HubStart(_Section):
    """A model of a hub at a commit, from which a training continues."""

    repository: HubName
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]

    @property
    def digest(self) -> str:
        """sha256 of repository and commit."""
        return compute_digest(self.model_dump())


class Recipe(_Section):
    """How to train one version."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    base_model: str
    """`package:<folder of habla_ml>`, a path starting with `/` or `~`, or a hub id with `revision`."""
    revision: str | None = None
    method: TrainingMethod = "full"
    lora: Lora | None = None
    parts: TrainedParts = "all"
    """`encoder` does not train the decoder, since a dialect is mostly in the acoustics."""
    base_share: ShareBelowOne = 0.0
    """Share of the base's weights in the published model: w = (1 - share) * trained + share * base.

    It reverses most forgetting at little cost (WiSE-FT, Wortsman et al. 2022). Validation and the choice of the best
    step use the trained weights. The base is `base_model` even with a first stage, because the first stage already forgets
    something."""
    first_stage: FirstStage | None = None
    """Training on the settings' `training.first_stage` before the classroom data; None for none."""
    start: HubStart | None = None
    """A fine-tuned model in place of the base model's weights. The base model stays the reference of the WER report and of
    `base_share`, and supplies tokenizer and settings."""
    learning_rate: LearningRate
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    warmup_ratio: ShareBelowOne | None = None
    lr_schedule: LearningRateSchedule = "linear"
    """How the rate falls to 0 after the warm-up."""
    weight_decay: NotNegative = 0.0
    """AdamW's, of weights only: not of biases and norms."""
    max_gradient_norm: AboveZero = 1.0
    label_smoothing: ShareBelowOne = 0.0
    epochs: AboveZero | None = None
    """How often each training clip is used, so that the steps grow with the speech; None for exactly `max_steps`."""
    min_steps: Positive | None = None
    """Fewest steps of a run with `epochs`: a few minutes of speech are used more often."""
    max_steps: Positive | None = None
    """Most steps of a run with `epochs`; without `epochs`, the steps of the run."""
    max_wall_s: AboveZero | None = None
    """Stop at the next step after this time; such a run is not reproducible."""
    batch_s: AboveZero = 120.0
    """Seconds of encoder input in an optimiser step, padding included."""
    gradient_accumulation: Positive = 1
    """Batches of an optimiser step, which divide `batch_s`. Each has its own window, so a step mixes clips of different
    lengths. More batches need less memory."""
    windows: Windows = Windows()
    augmentation: Augmentation = Augmentation()
    shuffle_h: AboveZero | None = None
    """Hours of successive classroom speech that are shuffled together; None for all.

    With fewer hours than the local cache holds, a larger corpus is read from the lake once in each pass."""
    spec_augment: SpecAugment | None = None
    train_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the train split's sessions, for a learning curve; a smaller share is a subset of a larger one."""
    non_speech_share: ShareBelowOne = 0.0
    """Share of non-speech clips: annotated ones of the train split, then synthesised ones.

    A model that is trained on speech alone hallucinates text in silence."""
    timestamps_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the uses of a clip whose target has timestamps: the phone and faster-whisper's default decode with them."""
    previous_text_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the uses of a clip that follow the text of the segment before it in the session."""
    quantisation: Literal["4bit"] | None = None
    """`4bit` keeps the frozen base of a LoRA training in 4 bits (QLoRA); needs a CUDA GPU and bitsandbytes."""
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """`adamw_8bit` keeps the optimiser's states in 8 bits; needs a CUDA GPU and bitsandbytes."""
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    gradient_checkpointing: bool = False
    evaluations_per_epoch: AboveZero = 2.0
    """Validations and checkpoints of each pass over the training clips."""
    min_evaluations: Positive = 8
    """Fewest validations of a run, also where it has a few passes over little speech."""
    evaluate_every_steps: Positive | None = None
    """A fixed cadence in place of the two keys above."""
    validation_bounds: ValidationBounds | None = None
    """None validates on speech of the class only."""
    early_stopping_patience: Positive = 3
    average_checkpoints: Positive = 1
    """Publish the mean weights of so many best validated checkpoints, if it validates no worse than the best one."""
    validation_clips: Positive = 256
    """Most clips of a validation; fewer where they would take more than 5 % of the training."""
    log_every_steps: Positive = 10
    report_to: tuple[Tracker, ...] = ("tensorboard",)
    """Trackers that follow the run. A first stage is in TensorBoard only."""
    seed: int = 20260216
    threads: Positive | None = None

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        self._check_base_model()
        if self.start is not None and self.first_stage is not None:
            raise ValueError("start and first_stage both replace the base model's weights; remove one of the sections")
        if (self.method == "lora") != (self.lora is not None):
            raise ValueError(f"method {self.method} {'needs' if self.lora is None else 'forbids'} the section lora")
        if self.quantisation is not None and self.lora is None:
            raise ValueError(f"quantisation {self.quantisation} freezes the base, so it needs method lora")
        if self.parts == "encoder" and self.lora is not None:
            raise ValueError("parts encoder needs method full; for adapters, set lora.target_modules")
        self._check_length()
        if self.warmup_steps is not None and self.warmup_ratio is not None:
            raise ValueError("at most one of warmup_steps and warmup_ratio can be given")
        if self.first_stage is not None:
            try:
                self.to_first_stage_recipe()
            except ValidationError as error:
                faults = (each["msg"].removeprefix("Value error, ") for each in error.errors())
                raise ValueError(f"first_stage: {'; '.join(faults)}") from None
        return self

    def _check_length(self) -> None:
        if self.epochs is None and self.max_steps is None:
            raise ValueError("epochs or max_steps must be given")
        if self.min_steps is not None and self.epochs is None:
            raise ValueError(f"min_steps {self.min_steps} needs epochs; without epochs, max_steps is the length")
        if self.min_steps is not None and self.max_steps is not None and self.min_steps > self.max_steps:
            raise ValueError(f"min_steps {self.min_steps} is above max_steps {self.max_steps}")

    def _check_base_model(self) -> None:
        if self.base_model_is_on_hub:
            if not _HUB_ID_PATTERN.fullmatch(self.base_model):
                raise ValueError(
                    f"base_model {self.base_model!r} is neither {_PACKAGE_PREFIX}<folder>, a path starting with / or ~, "
                    "nor a hub id like openai/whisper-small"
                )
            if not _COMMIT_PATTERN.fullmatch(self.revision or ""):
                raise ValueError(
                    f"base_model {self.base_model} is on a hub, so revision must pin a commit of 40 hex digits, "
                    f"not {self.revision!r}; a branch name is not fixed"
                )
        elif self.revision is not None:
            raise ValueError(f"revision is for hub ids, and {self.base_model} is a folder; remove the line")

    def to_first_stage_recipe(self) -> Recipe:
        """Return the first stage as a complete recipe, without interpolation with the base's weights."""
        own = {} if self.first_stage is None else self.first_stage.model_dump(exclude_none=True)
        replaced = _LENGTH_KEYS.union(*(keys for keys in _KEYS_OF_ONE_DECISION if keys & own.keys()))
        kept = self.model_dump(exclude=replaced | _VERSION_KEYS)
        return Recipe.model_validate({**kept, **own, "name": f"{self.name}.first_stage"})

    @property
    def base_model_is_on_hub(self) -> bool:
        """Whether the base model is a hub id, not a folder."""
        return not self.base_model.startswith((_PACKAGE_PREFIX, "/", "~"))

    @property
    def digest(self) -> str:
        """sha256 of the keys that steer training on classroom data; `RunIdentity` has the model that it starts from.

        Keys with their default values do not change it, so that a new key changes no earlier recipe. With a changed default,
        `TRAINING_CODE` rises.
        """
        elsewhere = {"name", "base_model", "revision", "first_stage", "start", "report_to"}
        return compute_digest(self.model_dump(mode="json", exclude=elsewhere, exclude_defaults=True))

    def count_warmup_steps(self, steps: int) -> int:
        """Return the warm-up steps of a run of `steps` optimiser steps."""
        if self.warmup_steps is not None:
            return min(self.warmup_steps, steps)
        return round((self.warmup_ratio or 0.0) * steps)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; raises `SettingsError` with file, key and expectation of every fault."""
    try:
        return Recipe.model_validate(read_mapping(path, "recipe"))
    except ValidationError as error:
        raise SettingsError(format_validation_errors(error, Recipe, str(path))) from None
