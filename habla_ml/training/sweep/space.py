"""What a sweep searches: recipe keys with their ranges or choices, as a YAML file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from habla_ml.errors import SettingsError
from habla_ml.lake import compute_digest
from habla_ml.settings.yaml_files import format_validation_errors, read_mapping
from habla_ml.training.recipe import Recipe

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

RecipeValues = Mapping[str, Any]
"""Recipe key, like `learning_rate` or `windows.full_share` → its value."""

_FIXED_KEYS: Final = {
    "name": "it changes no weight",
    "report_to": "it changes no weight",
    "log_every_steps": "it changes no weight",
    "seed": "the best of many seeds is chance; measure the spread with `habla-ml repeat`",
    "validation_clips": "trials are compared on the same clips",
    "start": "the settings' training.continue_from chooses the model to continue from",
}
"""Recipe key → why a sweep cannot change it."""


class _SpaceSection(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Range(_SpaceSection):
    """Numbers from `low` to `high`, both included; whole numbers where the recipe key has whole numbers."""

    low: float
    high: float
    log: bool = False
    """Whether each factor is equally likely, not each difference; for learning rates."""
    step: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g} must be above 0 with log: true")
        if self.log and self.step is not None:
            raise ValueError("step and log exclude each other; remove one of them")
        return self


Choices = Annotated[tuple[Any, ...], Field(min_length=2)]


class Pruning(_SpaceSection):
    """Trials end early if a validation is worse than the median of the earlier trials at the same validation."""

    startup_trials: Annotated[int, Field(ge=1)] = 4
    """Trials that run to their end before any trial is pruned."""
    warmup_validations: Annotated[int, Field(ge=0)] = 2
    """Validations of a trial before it can be pruned."""


class SearchSpace(_SpaceSection):
    """A sweep over recipe keys."""

    keys: Annotated[dict[str, Range | Choices], Field(min_length=1)]
    """Recipe key, with dots for sections → its range or list of choices."""
    trials: Annotated[int, Field(ge=1)] = 20
    """Trials in all; a finished sweep goes on if this is raised."""
    pruning: Pruning | None = Pruning()
    """None trains every trial to its end."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Determines the choice of recipes. The seed of the trainings is that of the recipe."""

    @property
    def digest(self) -> str:
        """sha256 of what determines the choice of recipes."""
        return compute_digest(self.model_dump(mode="json", exclude={"trials"}))

    def apply(self, recipe: Recipe, values: RecipeValues) -> Recipe:
        """Return `recipe` with other values; raises pydantic's `ValidationError` for values that contradict each other."""
        tree = recipe.model_dump(mode="json", exclude_unset=True)
        for key, value in values.items():
            *sections, name = key.split(".")
            inner = tree
            for section in sections:
                inner[section] = dict(inner.get(section) or {})
                inner = inner[section]
            inner[name] = value
        return Recipe.model_validate(tree)

    def check(self, recipe: Recipe, where: str) -> None:
        """Raise `SettingsError` unless each bound and choice of each key is valid in `recipe`."""
        for key, values in self.keys.items():
            if (reason := _FIXED_KEYS.get(key.split(".")[0])) is not None:
                raise SettingsError(f"{where}: keys.{key} cannot be searched: {reason}; remove it")
            for value in (values.low, values.high) if isinstance(values, Range) else values:
                try:
                    self.apply(recipe, {key: value})
                except ValidationError as error:
                    faults = "; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors())
                    raise SettingsError(
                        f"{where}: keys.{key} has {value!r}, which recipe {recipe.name} does not allow ({faults}); "
                        "change the value, or the recipe's other keys"
                    ) from None

    def to_distributions(self, recipe: Recipe) -> dict[str, BaseDistribution]:
        """Return Optuna's distributions; a choice is its JSON text, since Optuna stores plain values only."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        found: dict[str, BaseDistribution] = {}
        for key, values in self.keys.items():
            if not isinstance(values, Range):
                found[key] = CategoricalDistribution([json.dumps(each, sort_keys=True) for each in values])
            elif isinstance(get_value(self.apply(recipe, {key: values.low}), key), int):
                step = int(values.step or 1)
                found[key] = IntDistribution(int(values.low), int(values.high), log=values.log, step=step)
            else:
                found[key] = FloatDistribution(values.low, values.high, log=values.log, step=values.step)
        return found

    def to_values(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the recipe values of Optuna's parameters."""
        return {
            key: value if isinstance(self.keys[key], Range) else json.loads(value) for key, value in parameters.items()
        }

    def find_parameters(self, recipe: Recipe) -> dict[str, Any] | None:
        """Return Optuna's parameters of the values of `recipe` itself; None if one is outside of the space."""
        found: dict[str, Any] = {}
        for key, values in self.keys.items():
            own = get_value(recipe, key)
            if isinstance(values, Range):
                if not isinstance(own, (int, float)) or not values.low <= own <= values.high:
                    return None
                found[key] = own
            else:
                equal = [each for each in values if get_value(self.apply(recipe, {key: each}), key) == own]
                if not equal:
                    return None
                found[key] = json.dumps(equal[0], sort_keys=True)
        return found


def load_space(path: Path) -> SearchSpace:
    """Read a search space; raises `SettingsError` with file, key and expectation of every fault."""
    try:
        return SearchSpace.model_validate(read_mapping(path, "search space"))
    except ValidationError as error:
        raise SettingsError(format_validation_errors(error, SearchSpace, str(path))) from None


def get_value(recipe: Recipe, key: str) -> Any:
    """Return the value of a key with dots for sections; None in a missing section."""
    return reduce(lambda section, name: None if section is None else getattr(section, name), key.split("."), recipe)
