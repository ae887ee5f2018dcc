"""What was wrong, word by word and utterance by utterance: to look into, and to count again without decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.scoring import AlignedWord, ErrorCounts, UtteranceScore
from habla_ml.evaluation.slices import Reference

if TYPE_CHECKING:
    import pyarrow as pa

_CONTEXT_WORDS = 2
_PARTS = ("substitutions", "deletions", "insertions", "hits")


@dataclass(frozen=True)
class WordError:
    """One word that was heard wrong, missed or invented."""

    segment_id: str
    operation: Literal["substitute", "delete", "insert"]
    reference: str | None
    """The word that was said; None for an insertion."""
    hypothesis: str | None
    """The word that was heard; None for a deletion."""
    left: tuple[str, ...]
    """Up to two reference words before it."""
    right: tuple[str, ...]
    """Up to two reference words after it."""
    index: int
    """Place in the reference, from 0; of an insertion, the place of the word it stands before."""


def word_errors(segment_id: str, alignment: Sequence[AlignedWord]) -> list[WordError]:
    """Every error of one utterance in reading order, from its alignment (`scoring.align_words`)."""
    said = [step.reference for step in alignment if step.reference is not None]
    found, at = [], 0
    for step in alignment:
        after = at + (step.reference is not None)
        if step.operation != "equal":
            found.append(
                WordError(
                    segment_id=segment_id,
                    operation=step.operation,
                    reference=step.reference,
                    hypothesis=step.hypothesis,
                    left=tuple(said[max(0, at - _CONTEXT_WORDS) : at]),
                    right=tuple(said[after : after + _CONTEXT_WORDS]),
                    index=at,
                )
            )
        at = after
    return found


def utterance_table(
    model: str,
    references: Sequence[Reference],
    normalised: Sequence[UtteranceScore],
    orthographic: Sequence[UtteranceScore],
) -> pa.Table:
    """One row an utterance: its ids and S, D, I and hits, ready to be written as parquet.

    The columns are `model`, `segment_id`, `session_id`, and for each of `words`, `characters`, `orthographic_words`
    and `orthographic_characters` its `_substitutions`, `_deletions`, `_insertions` and `_hits` (int32). Tables of
    several models are joined by `pyarrow.concat_tables`. An empty reference has no substitutions, deletions or hits.

    Raises:
        EvaluationError: The three describe other numbers of utterances.
    """
    import pyarrow as pa

    if not len(references) == len(normalised) == len(orthographic):
        raise EvaluationError(
            f"{len(references)} references, {len(normalised)} normalised and {len(orthographic)} orthographic scores "
            "do not describe the same utterances; score each utterance in both forms"
        )
    counts: dict[str, list[ErrorCounts]] = {
        "words": [each.words for each in normalised],
        "characters": [each.characters for each in normalised],
        "orthographic_words": [each.words for each in orthographic],
        "orthographic_characters": [each.characters for each in orthographic],
    }
    columns = {
        "model": pa.array([model] * len(references), pa.string()),
        "segment_id": pa.array([each.segment_id for each in references], pa.string()),
        "session_id": pa.array([each.session_id for each in references], pa.string()),
    }
    for name, of in counts.items():
        for part in _PARTS:
            columns[f"{name}_{part}"] = pa.array([getattr(each, part) for each in of], pa.int32())
    return pa.table(columns)
