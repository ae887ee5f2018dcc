"""The identity of a training run: all inputs that determine its weights."""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import version
from typing import Final, Self

from pydantic import BaseModel, ConfigDict

from habla_ml.corpus.general_speech import GeneralSpeech
from habla_ml.errors import TrainingError
from habla_ml.lake import compute_digest
from habla_ml.training.base_model import WhisperBaseModel
from habla_ml.training.recipe import Recipe
from habla_ml.training.targets import LABEL_SEMANTICS

TRAINING_CODE: Final = "0.1.0"
"""Version of what a training computes from its inputs, part of every run's identity. Raise it when the same inputs give
other weights: each version is then trained again when its asset is launched. The commit is no part of the identity, since
most commits change no weight; the record of a run has it (`habla_ml.code_identity`)."""
_NO_REPLAY = GeneralSpeech()
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
        """Return the identity of training `recipe` on `snapshot_id` from `base` with the installed packages."""
        sources = [[each.digest, each.licence, each.origin] for each in replay.sources]
        return cls(
            recipe=recipe.digest,
            snapshot=snapshot_id,
            base_model=base.digest,
            replay=compute_digest(sources) if sources else "",
            labels=LABEL_SEMANTICS,
            seed=recipe.seed,
            code=TRAINING_CODE,
            packages={name: version(name) for name in _PACKAGES},
            first_stage="" if first_stage is None else first_stage.digest,
            start="" if recipe.start is None else recipe.start.digest,
            excluded_sounds=compute_digest(sorted(excluded_sounds)) if excluded_sounds else "",
        )

    @property
    def digest(self) -> str:
        """sha256 that names the run's output; fields with defaults do not change it."""
        return compute_digest(self.model_dump(mode="json", exclude_defaults=True))

    def check_same_run(self, found: RunIdentity, where: str) -> None:
        """Raise `TrainingError` with every difference if `found` at `where` is another identity."""
        mine, theirs = self.model_dump(mode="json"), found.model_dump(mode="json")
        differing = [key for key in mine if mine[key] != theirs[key]]
        if differing:
            details = "; ".join(f"{key} {theirs[key]} instead of {mine[key]}" for key in differing)
            raise TrainingError(
                f"{where} belongs to another training ({details}) and cannot be resumed; remove it or train in another "
                "folder"
            )
