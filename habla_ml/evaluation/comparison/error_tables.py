"""Tables of every utterance and every word error, to inspect and to count again without decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.metrics.inputs import Reference, ScoredModel, ScoredSpeech
from habla_ml.evaluation.scoring.alignment import AlignedWord

if TYPE_CHECKING:
    import pyarrow as pa

_CONTEXT_WORDS = 2
_COUNT_FIELDS = ("substitutions", "deletions", "insertions", "hits")


@dataclass(frozen=True)
class WordError:
    """One substituted, deleted or inserted word."""

    segment_id: str
    operation: Literal["substitute", "delete", "insert"]
    reference: str | None
    """None for an insertion."""
    hypothesis: str | None
    """None for a deletion."""
    left: tuple[str, ...]
    """Up to two reference words before it."""
    right: tuple[str, ...]
    """Up to two reference words after it."""
    index: int
    """Index in the reference, from 0; an insertion has the index of the next reference word."""


def list_word_errors(segment_id: str, alignment: Sequence[AlignedWord]) -> list[WordError]:
    """Return every error of one utterance in reading order, from its alignment (`scoring.align_words`)."""
    words = [step.reference for step in alignment if step.reference is not None]
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
                    left=tuple(words[max(0, at - _CONTEXT_WORDS) : at]),
                    right=tuple(words[after : after + _CONTEXT_WORDS]),
                    index=at,
                )
            )
        at = after
    return found


def make_utterance_table(references: Sequence[Reference], model: ScoredModel) -> pa.Table:
    """Return one row per utterance: its ids, reference, hypothesis, and S, D, I and hits.

    The columns are `model`, `segment_id`, `session_id`, `reference`, `hypothesis`, and for each of `words`,
    `characters` and `orthographic_words` its `_substitutions`, `_deletions`, `_insertions` and `_hits` (int32). An
    empty reference has no substitutions, deletions or hits.

    Raises:
        EvaluationError: There is not one hypothesis for each reference.
    """
    import pyarrow as pa

    if len(references) != len(model.texts):
        raise EvaluationError(
            f"{len(references)} references and {len(model.texts)} texts of {model.name} do not describe the same "
            "utterances; pass one text for each reference"
        )
    columns = {
        "model": pa.array([model.name] * len(references), pa.string()),
        "segment_id": pa.array([each.segment_id for each in references], pa.string()),
        "session_id": pa.array([each.session_id for each in references], pa.string()),
        "reference": pa.array([each.sentence for each in references], pa.string()),
        "hypothesis": pa.array(model.texts, pa.string()),
    }
    counts = {"words": model.words, "characters": model.characters, "orthographic_words": model.orthographic}
    for name, of in counts.items():
        for part in _COUNT_FIELDS:
            columns[f"{name}_{part}"] = pa.array([getattr(each, part) for each in of], pa.int32())
    return pa.table(columns)


def make_word_error_table(
    references: Sequence[Reference], model: str, alignments: Sequence[Sequence[AlignedWord]]
) -> pa.Table:
    """Return one row per word error, with `model` and `session_id`.

    `said` and `heard` hold the two words, null where there is none. They are not named `reference` and `hypothesis`
    because an erasure treats columns of those names as whole texts and searches every page for them.
    """
    import pyarrow as pa

    sessions = {each.segment_id: each.session_id for each in references}
    found = [
        error
        for reference, alignment in zip(references, alignments, strict=True)
        for error in list_word_errors(reference.segment_id, alignment)
    ]
    return pa.table(
        {
            "model": pa.array([model] * len(found), pa.string()),
            "segment_id": pa.array([each.segment_id for each in found], pa.string()),
            "session_id": pa.array([sessions[each.segment_id] for each in found], pa.string()),
            "operation": pa.array([each.operation for each in found], pa.string()),
            "said": pa.array([each.reference for each in found], pa.string()),
            "heard": pa.array([each.hypothesis for each in found], pa.string()),
            "before": pa.array([" ".join(each.left) for each in found], pa.string()),
            "after": pa.array([" ".join(each.right) for each in found], pa.string()),
            "place": pa.array([each.index for each in found], pa.int32()),
        }
    )


@dataclass(frozen=True)
class ErrorTables:
    """The tables of all models of a comparison, stored with its report."""

    utterances: pa.Table
    word_errors: pa.Table

    @classmethod
    def of(cls, speech: ScoredSpeech) -> Self:
        """Make the tables of all models."""
        import pyarrow as pa

        return cls(
            pa.concat_tables(make_utterance_table(speech.references, each) for each in speech.models),
            pa.concat_tables(
                make_word_error_table(speech.references, each.name, steps)
                for each, steps in zip(speech.models, speech.alignments, strict=True)
            ),
        )
