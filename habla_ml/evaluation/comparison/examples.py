"""Utterances to inspect: the largest improvements, the largest regressions and the worst of the candidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from habla_ml.evaluation.comparison.records import ExampleHypothesis, ExampleUtterance
from habla_ml.evaluation.metrics.inputs import Reference, ScoredModel, ScoredSpeech

EXAMPLES_PER_KIND = 6

_Kind = Literal["improved", "worst", "regressed"]


def choose_examples(speech: ScoredSpeech) -> tuple[ExampleUtterance, ...]:
    """Return up to six utterances of each kind, the strongest first, none twice; ties are sorted by segment id.

    Return none without a candidate, and only the worst without a base.
    """
    references, models = speech.references, speech.models
    roles = {each.role: each for each in models}
    candidate, base = roles.get("candidate"), roles.get("base")
    if candidate is None:
        return ()
    errors = [each.errors for each in candidate.words]
    gains = [old.errors - new for old, new in zip(base.words, errors, strict=True)] if base else [0] * len(errors)
    strength: dict[_Kind, list[int]] = {
        "improved": gains,
        "worst": errors,
        "regressed": [-gain for gain in gains],
    }
    taken: set[int] = set()
    chosen = []
    order: tuple[_Kind, ...] = ("improved", "regressed", "worst")
    for kind in order:
        ranked = sorted(
            (at for at in range(len(references)) if strength[kind][at] > 0 and at not in taken),
            key=lambda at: (-strength[kind][at], references[at].segment_id),
        )[:EXAMPLES_PER_KIND]
        taken.update(ranked)
        chosen += [_make_example(kind, at, references[at], models) for at in ranked]
    return tuple(chosen)


def _make_example(kind: _Kind, at: int, reference: Reference, models: Sequence[ScoredModel]) -> ExampleUtterance:
    return ExampleUtterance(
        kind=kind,
        segment_id=reference.segment_id,
        session_id=reference.session_id,
        speaker=reference.speaker,
        duration_s=reference.duration_s,
        loudness_dbfs=reference.loudness_dbfs,
        reference=reference.sentence,
        words=models[0].words[at].reference_words,
        hypotheses=tuple(
            ExampleHypothesis(model=model.name, text=model.texts[at], errors=model.words[at].errors) for model in models
        ),
    )
