"""What a training run is: everything that decides its weights, as one digest and one file in each checkpoint."""

from __future__ import annotations

from importlib.metadata import version
from typing import Self

from pydantic import BaseModel, ConfigDict

import habla_ml
from habla_ml.corpus.general_speech import GeneralSpeech
from habla_ml.errors import TrainingError
from habla_ml.lake import compute_digest
from habla_ml.training.base_model import WhisperBaseModel
from habla_ml.training.recipe import Recipe
from habla_ml.training.targets import LABEL_SEMANTICS

_NO_REPLAY = GeneralSpeech()
_PACKAGES = ("torch", "transformers", "accelerate", "peft", "tokenizers", "numpy")


class RunIdentity(BaseModel):
    """The inputs of a run. Two runs of one identity on one kind of machine end with the same checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    """Digest of the recipe."""
    snapshot: str
    """Empty for a first stage, which hears general speech alone."""
    base_model: str
    """Digest of the base model's content."""
    replay: str
    """Digest of the general speech heard in this run, with licences and origins; empty where there is none."""
    labels: str
    """Semantics of the labels."""
    seed: int
    code: str
    """Version of habla_ml."""
    packages: dict[str, str]
    first_stage: str = ""
    """Digest of the identity of the first stage, whose result this run starts from; empty where there is none."""

    @classmethod
    def of_first_stage(cls, recipe: Recipe, base: WhisperBaseModel, speech: GeneralSpeech) -> Self:
        """The identity of the first stage of `recipe`: of no snapshot and no version, so that many can share it."""
        return cls.of(recipe.to_first_stage_recipe(), "", base, speech)

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        snapshot_id: str,
        base: WhisperBaseModel,
        replay: GeneralSpeech = _NO_REPLAY,
        first_stage: RunIdentity | None = None,
    ) -> Self:
        """The identity of training `recipe` on `snapshot_id` from `base` with what is installed."""
        heard = [[each.digest, each.licence, each.origin] for each in replay.sources]
        return cls(
            recipe=recipe.digest,
            snapshot=snapshot_id,
            base_model=base.digest,
            replay=compute_digest(heard) if heard else "",
            labels=LABEL_SEMANTICS,
            seed=recipe.seed,
            code=habla_ml.__version__,
            packages={name: version(name) for name in _PACKAGES},
            first_stage="" if first_stage is None else first_stage.digest,
        )

    @property
    def digest(self) -> str:
        """sha256 that names the run's output; without a first stage the same as before there were any."""
        return compute_digest(self.model_dump(mode="json", exclude_defaults=True))

    def check_same_run(self, found: RunIdentity, where: str) -> None:
        """Raise `TrainingError` naming every difference, where `found` at `where` is not this run's."""
        mine, theirs = self.model_dump(mode="json"), found.model_dump(mode="json")
        differing = [key for key in mine if mine[key] != theirs[key]]
        if differing:
            details = "; ".join(f"{key} {theirs[key]} instead of {mine[key]}" for key in differing)
            raise TrainingError(
                f"{where} belongs to another training ({details}); it cannot be resumed here. "
                "Remove it or train in another folder"
            )
