"""What changed from one model to another, all figures on the same draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Protocol

from habla_ml.evaluation.comparison import Change, Role, Slice, SliceChange
from habla_ml.evaluation.hallucination import HallucinationChange, hallucination_change
from habla_ml.evaluation.punctuation import punctuation_change
from habla_ml.evaluation.rates import counts_of
from habla_ml.evaluation.significance import simultaneous_lower_bounds, smallest_detectable
from habla_ml.evaluation.statistics import Resample, interval_of

if TYPE_CHECKING:
    from habla_ml.evaluation.invented import NonSpeechFinding, SpeechFinding
    from habla_ml.evaluation.punctuation import UtterancePunctuation
    from habla_ml.evaluation.rates import ScoredModel
    from habla_ml.evaluation.statistics import Draws


class Named(Protocol):
    """A model that takes part."""

    @property
    def name(self) -> str:
        """Shown in tables."""
        ...

    @property
    def role(self) -> Role:
        """What it is measured as."""
        ...


@dataclass(frozen=True)
class Tables:
    """The counts of all models on the test set, drawn together: one column of errors for each model."""

    words: Resample
    characters: Resample
    orthographic: Resample
    substitutions: Resample
    deletions: Resample
    insertions: Resample

    @classmethod
    def of(cls, models: Sequence[ScoredModel], draws: Draws) -> Tables:
        """Draw every kind of error of every model."""
        words = [model.words for model in models]
        return cls(
            *draws.resample(
                [
                    counts_of(words),
                    counts_of([model.characters for model in models]),
                    counts_of([model.orthographic for model in models]),
                    counts_of(words, "substitutions"),
                    counts_of(words, "deletions"),
                    counts_of(words, "insertions"),
                ]
            )
        )


@dataclass(frozen=True)
class Found:
    """What one model invented, and how it punctuates; all models on the same clips in the same order."""

    sessions: Sequence[str]
    """Of each utterance."""
    speech: Sequence[SpeechFinding]
    non_speech: Sequence[NonSpeechFinding] | None
    punctuation: Sequence[UtterancePunctuation]


def changes_of(
    models: Sequence[Named],
    tables: Tables,
    out_of_domain: Resample | None,
    sliced: Sequence[tuple[Slice, Resample]],
    found: Sequence[Found],
    draws: int,
    seed: int,
) -> tuple[Change, ...]:
    """The candidate against each other model; without a candidate, each model against each before it.

    Args:
        models: In the order of the columns of every table.
        tables: On the test set.
        out_of_domain: Words of the other set, or None.
        sliced: Every slice with its draws.
        found: Of each model.
        draws: Bootstrap draws of what is drawn here.
        seed: Of these.
    """
    return tuple(
        Change(
            of=models[after].name,
            against=models[before].name,
            role=models[before].role,
            relative_improvement=interval_of(tables.words.relative_improvement(before, after)),
            points=interval_of(tables.words.point_change(before, after)),
            orthographic_points=interval_of(tables.orthographic.point_change(before, after)),
            character_points=interval_of(tables.characters.point_change(before, after)),
            deletion_points=interval_of(tables.deletions.point_change(before, after)),
            insertion_points=interval_of(tables.insertions.point_change(before, after)),
            out_of_domain_points=interval_of(out_of_domain.point_change(before, after)) if out_of_domain else None,
            smallest_detectable_points=smallest_detectable(tables.words.point_change(before, after)),
            slices=_slice_changes(sliced, before, after),
            hallucination=_invented(found[before], found[after], draws, seed),
            punctuation=punctuation_change(
                found[before].sessions, found[before].punctuation, found[after].punctuation, draws, seed
            )
            if found[before].sessions
            else None,
        )
        for before, after in _pairs(models)
    )


def _pairs(models: Sequence[Named]) -> list[tuple[int, int]]:
    """Before and after, those before in the order of the models."""
    candidate = next((at for at, each in enumerate(models) if each.role == "candidate"), None)
    if candidate is None:
        return list(combinations(range(len(models)), 2))
    return [(at, candidate) for at in range(len(models)) if at != candidate]


def _slice_changes(sliced: Sequence[tuple[Slice, Resample]], before: int, after: int) -> tuple[SliceChange, ...]:
    """The change of every slice that is large enough to speak of and not the whole set under another name."""
    whole = max((part.utterances for part, _ in sliced), default=0)
    large = [(part, resample) for part, resample in sliced if part.too_small is None and part.utterances < whole]
    figures = [(part, resample.point_change(before, after)) for part, resample in large]
    known = [(part, figure) for part, figure in figures if figure is not None]
    if not known:
        return ()
    bounds = simultaneous_lower_bounds([figure for _, figure in known])
    return tuple(
        SliceChange(dimension=part.dimension, name=part.name, points=figure.interval(), sure_loss_points=bound)
        for (part, figure), bound in zip(known, bounds, strict=True)
    )


def _invented(before: Found, after: Found, draws: int, seed: int) -> HallucinationChange | None:
    if before.non_speech is None or after.non_speech is None:
        return None
    return hallucination_change((before.speech, before.non_speech), (after.speech, after.non_speech), draws, seed)
