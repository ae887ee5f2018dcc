"""The identity of a training run: all inputs that determine its weights."""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import version
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict

from habla_ml.corpus.general_speech import GeneralSpeech
from habla_ml.errors import TrainingError
from habla_ml.lake import compute_digest
from habla_ml.training.base_model import WhisperBaseModel
from habla_ml.training.device import describe_attention, name_device, resolve_precision
from habla_ml.training.recipe import Recipe
from habla_ml.training.small_memory import BITSANDBYTES, needs_bitsandbytes
from habla_ml.training.targets import LABEL_SEMANTICS, PROMPT_SEMANTICS, TIMED_LABEL_SEMANTICS

TRAINING_CODE: Final = "0.5.0"
"""Version of what a training computes from its inputs, part of every run's identity. Raise it when the same inputs give
other weights: no unfinished run is then resumed with other code. A published version is not trained again. The commit is no
part of the identity, since most commits change no weight; the record of a run has it (`habla_ml.code_identity`)."""
_NO_REPLAY = GeneralSpeech()
_ENVIRONMENT_FIELDS: Final = {"labels", "code", "packages", "device", "precision", "attention", "first_stage"}
"""What may change without a person: our version, the packages and the machine. The first stage has an identity with inputs
of its own."""
_PACKAGES = ("torch", "transformers", "accelerate", "peft", "tokenizers", "numpy")


class RunIdentity(BaseModel):
    """The inputs of a run. Two runs with the same identity on the same kind of machine give the same checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    snapshot: str
    """Id of the snapshot; empty for a first stage."""
    base_model: str
    replay: str
    """Digest of the general speech of this run, with licences and origins; empty without any."""
    labels: str
    seed: int
    code: str
    """`TRAINING_CODE`; a version of habla_ml in earlier records."""
    packages: dict[str, str]
    first_stage: str = ""
    """Digest of the identity of the first stage; empty without one."""
    start: str = ""
    """Digest of the hub's model that the run continues from; empty without one."""
    excluded_sounds: str = ""
    """Digest of the classroom's sounds that nearly equal evaluation data and are left out; empty without any."""
    device: str = ""
    """Name of the GPU, or `cpu`; empty in earlier records, as are the next two."""
    precision: str = ""
    """`fp32`, `fp16` or `bf16`."""
    attention: str = ""
    """Implementations of attention, such as `sdpa`."""

    @classmethod
    def of_first_stage(cls, recipe: Recipe, base: WhisperBaseModel, speech: GeneralSpeech) -> Self:
        """Return the identity of the first stage of `recipe`, which is independent of snapshot and version."""
        return cls.of(recipe.to_first_stage_recipe(), "", base, speech)

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        snapshot_id: str,
        base: WhisperBaseModel,
        replay: GeneralSpeech = _NO_REPLAY,
        first_stage: RunIdentity | None = None,
        excluded_sounds: Collection[str] = (),
    ) -> Self:
        """Return the identity of training `recipe` on `snapshot_id` from `base` with the packages and device of this process."""
        sources = [[each.digest, each.licence, each.origin] for each in replay.sources]
        return cls(
            recipe=recipe.digest,
            snapshot=snapshot_id,
            base_model=base.digest,
            replay=compute_digest(sources) if sources else "",
            seed=recipe.seed,
            first_stage="" if first_stage is None else first_stage.digest,
            start="" if recipe.start is None else recipe.start.digest,
            excluded_sounds=compute_digest(sorted(excluded_sounds)) if excluded_sounds else "",
            **_describe_environment(recipe),
        )

    def on_this_machine(self, recipe: Recipe, first_stage: RunIdentity | None) -> Self:
        """Return the identity of the same inputs with the code, packages and device of this process.

        `first_stage` replaces the identity of the first stage; None keeps it.
        """
        stage = self.first_stage if first_stage is None else first_stage.digest
        return self.model_copy(update={**_describe_environment(recipe), "first_stage": stage})

    @property
    def digest(self) -> str:
        """sha256 that names the run's output; fields with defaults do not change it."""
        return compute_digest(self.model_dump(mode="json", exclude_defaults=True))

    def has_inputs_of(self, other: RunIdentity) -> bool:
        """Return whether both differ in code, packages and machine at most."""
        return self.model_dump(exclude=_ENVIRONMENT_FIELDS) == other.model_dump(exclude=_ENVIRONMENT_FIELDS)

    def describe_differences(self, found: RunIdentity) -> str:
        """Return what `found` has and this identity has in its place; empty if they are equal."""
        mine, theirs = _flatten(self), _flatten(found)
        keys = [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]
        return "; ".join(f"{key} {theirs.get(key, 'none')} instead of {mine.get(key, 'none')}" for key in keys)

    def check_same_run(self, found: RunIdentity, where: str) -> None:
        """Raise `TrainingError` with every difference if `found` at `where` is another identity."""
        if differences := self.describe_differences(found):
            raise TrainingError(
                f"{where} belongs to another training ({differences}) and cannot be resumed; remove it or train in another "
                "folder"
            )


def _list_further_packages(recipe: Recipe) -> list[str]:
    """Return the packages that only some recipes compute with."""
    timed = ["faster-whisper"] if recipe.timestamps_share else []  # its detector finds the bounds of speech
    return [*timed, *([BITSANDBYTES] if needs_bitsandbytes(recipe) else [])]


def _describe_labels(recipe: Recipe) -> str:
    """Return the versions of the forms of targets that a recipe uses."""
    timed = [TIMED_LABEL_SEMANTICS] if recipe.timestamps_share else []
    prompted = [PROMPT_SEMANTICS] if recipe.previous_text_share else []
    return ", ".join((LABEL_SEMANTICS, *timed, *prompted))


def _describe_environment(recipe: Recipe) -> dict[str, Any]:
    return {
        "labels": _describe_labels(recipe),
        "code": TRAINING_CODE,
        "packages": {name: version(name) for name in (*_PACKAGES, *_list_further_packages(recipe))},
        "device": name_device(),
        "precision": resolve_precision(recipe),
        "attention": describe_attention(),
    }


def _flatten(identity: RunIdentity) -> dict[str, object]:
    """Return the fields that are not empty, and each package by its name."""
    fields = identity.model_dump(mode="json")
    packages = fields.pop("packages")
    return {key: value for key, value in {**fields, **packages}.items() if value != ""}
