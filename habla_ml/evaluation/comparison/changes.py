"""What changed from one model to another, all figures on the same draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Protocol

from habla_ml.evaluation.comparison.records import Change, ModelRole, Slice, SliceChange
from habla_ml.evaluation.metrics.hallucination import HallucinationChange, compare_hallucination
from habla_ml.evaluation.metrics.punctuation import compare_punctuation
from habla_ml.evaluation.scoring.rates import stack_counts
from habla_ml.evaluation.scoring.significance import compute_simultaneous_lower_bounds, compute_smallest_detectable
from habla_ml.evaluation.scoring.statistics import Resample, to_interval

if TYPE_CHECKING:
    from habla_ml.evaluation.metrics.hallucination_detection import NonSpeechFinding, SpeechFinding
    from habla_ml.evaluation.metrics.punctuation import UtterancePunctuation
    from habla_ml.evaluation.scoring.rates import ScoredModel
    from habla_ml.evaluation.scoring.statistics import Draws


class ModelIdentity(Protocol):
    """A model that takes part."""

    @property
    def name(self) -> str:
        """Shown in tables."""
        ...

    @property
    def role(self) -> ModelRole:
        """What it is measured as."""
        ...


@dataclass(frozen=True)
class CountResamples:
    """The counts of all models on the test set, drawn together: one column of errors for each model."""

    words: Resample
    characters: Resample
    orthographic: Resample
    substitutions: Resample
    deletions: Resample
    insertions: Resample

    @classmethod
    def of(cls, models: Sequence[ScoredModel], draws: Draws) -> CountResamples:
        """Draw every kind of error of every model."""
        words = [model.words for model in models]
        return cls(
            *draws.resample(
                [
                    stack_counts(words),
                    stack_counts([model.characters for model in models]),
                    stack_counts([model.orthographic for model in models]),
                    stack_counts(words, "substitutions"),
                    stack_counts(words, "deletions"),
                    stack_counts(words, "insertions"),
                ]
            )
        )


@dataclass(frozen=True)
class ModelFindings:
    """What one model invented, and how it punctuates; all models on the same clips in the same order."""

    sessions: Sequence[str]
    """Of each utterance."""
    speech: Sequence[SpeechFinding]
    non_speech: Sequence[NonSpeechFinding] | None
    punctuation: Sequence[UtterancePunctuation]


def compute_changes(
    models: Sequence[ModelIdentity],
    tables: CountResamples,
    out_of_domain: Resample | None,
    sliced: Sequence[tuple[Slice, Resample]],
    findings: Sequence[ModelFindings],
    draws: int,
    seed: int,
) -> tuple[Change, ...]:
    """The candidate against each other model; without a candidate, each model against each before it.

    Args:
        models: In the order of the columns of every table.
        tables: On the test set.
        out_of_domain: Words of the other set, or None.
        sliced: Every slice with its draws.
        findings: Of each model.
        draws: Bootstrap draws of what is drawn here.
        seed: Of these.
    """
    return tuple(
        Change(
            of=models[after].name,
            against=models[before].name,
            role=models[before].role,
            relative_improvement=to_interval(tables.words.relative_improvement(before, after)),
            points=to_interval(tables.words.point_change(before, after)),
            orthographic_points=to_interval(tables.orthographic.point_change(before, after)),
            character_points=to_interval(tables.characters.point_change(before, after)),
            deletion_points=to_interval(tables.deletions.point_change(before, after)),
            insertion_points=to_interval(tables.insertions.point_change(before, after)),
            out_of_domain_points=to_interval(out_of_domain.point_change(before, after)) if out_of_domain else None,
            smallest_detectable_points=compute_smallest_detectable(tables.words.point_change(before, after)),
            slices=_compute_slice_changes(sliced, before, after),
            hallucination=_compare_hallucination(findings[before], findings[after], draws, seed),
            punctuation=compare_punctuation(
                findings[before].sessions, findings[before].punctuation, findings[after].punctuation, draws, seed
            )
            if findings[before].sessions
            else None,
        )
        for before, after in _list_pairs(models)
    )


def _list_pairs(models: Sequence[ModelIdentity]) -> list[tuple[int, int]]:
    """Before and after, those before in the order of the models."""
    candidate = next((at for at, each in enumerate(models) if each.role == "candidate"), None)
    if candidate is None:
        return list(combinations(range(len(models)), 2))
    return [(at, candidate) for at in range(len(models)) if at != candidate]


def _compute_slice_changes(
    sliced: Sequence[tuple[Slice, Resample]], before: int, after: int
) -> tuple[SliceChange, ...]:
    """The change of every slice that is large enough to speak of and not the whole set under another name."""
    whole = max((part.utterances for part, _ in sliced), default=0)
    large = [(part, resample) for part, resample in sliced if part.too_small is None and part.utterances < whole]
    figures = [(part, resample.point_change(before, after)) for part, resample in large]
    known = [(part, figure) for part, figure in figures if figure is not None]
    if not known:
        return ()
    bounds = compute_simultaneous_lower_bounds([figure for _, figure in known])
    return tuple(
        SliceChange(
            dimension=part.dimension, name=part.name, points=figure.interval(), loss_lower_bound_points=bound
        )
        for (part, figure), bound in zip(known, bounds, strict=True)
    )


def _compare_hallucination(
    before: ModelFindings, after: ModelFindings, draws: int, seed: int
) -> HallucinationChange | None:
    if before.non_speech is None or after.non_speech is None:
        return None
    return compare_hallucination((before.speech, before.non_speech), (after.speech, after.non_speech), draws, seed)
