"""Count word and character errors: substitutions, deletions and insertions.

The alignment has the fewest edits, all of the same weight, as in jiwer. The counts come from rapidfuzz, the aligner
inside jiwer, without jiwer's objects: that is ten times as fast. `compute_corpus_wer` uses jiwer itself, and every
comparison checks one against the other.

Every aligner that minimises the edits gives the same WER, and the same insertions minus deletions. The kinds of edits
depend on the choice among equally short alignments: two substitutions can also be one deletion, one insertion and one
hit. NIST's sclite gives a substitution the weight 4, and insertions and deletions 3. Therefore:

- with the same number of edits, sclite counts 2k substitutions fewer, and k deletions, insertions and hits more, with
  0 <= 2k <= the substitutions here;
- sclite may choose more edits: at most 4/3 of those here, and at most a third of the substitutions here more. Its WER is
  never below the one here.

With an empty reference, every hypothesis word is an insertion and the utterance has no rate of its own; its insertions
count in the rate of the set. With an empty hypothesis, every reference word is a deletion. Two empty texts count nothing.
A text of markers or punctuation only is empty after the Spanish normaliser, and has words in the orthographic form.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final, Literal

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.scoring.normalisation import NORMALISER_VERSION, Normaliser
from habla_ml.evaluation.scoring.readings import choose_reading

SCORER_VERSION = f"scorer-2+{NORMALISER_VERSION}"
"""Figures are comparable only if this is the same for both."""


@dataclass(frozen=True)
class ErrorCounts:
    """The counts of an alignment, in words or in characters."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    hits: int = 0

    @property
    def errors(self) -> int:
        """S + D + I."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_words(self) -> int:
        """Words or characters of the reference: S + D + H."""
        return self.substitutions + self.deletions + self.hits

    @property
    def wer(self) -> float | None:
        """Errors over the length of the reference, or None if it is empty. Can exceed 1."""
        return self.errors / self.reference_words if self.reference_words else None


@dataclass(frozen=True)
class UtteranceScore:
    """The errors of one utterance; spaces are characters."""

    words: ErrorCounts
    characters: ErrorCounts


EditOperation = Literal["equal", "substitute", "delete", "insert"]
_OPERATIONS: Final[dict[str, EditOperation]] = {
    "equal": "equal",
    "replace": "substitute",
    "delete": "delete",
    "insert": "insert",
}


@dataclass(frozen=True)
class AlignedWord:
    """One step of the alignment; a side without a word is None."""

    operation: EditOperation
    reference: str | None
    hypothesis: str | None


def score_utterances(
    references: Sequence[str], hypotheses: Sequence[str], normaliser: Normaliser
) -> list[UtteranceScore]:
    """Score each normalised hypothesis, in its reading nearest to the reference, against its normalised reference.

    Raises:
        EvaluationError: The lists differ in length.
    """
    check_equal_lengths(references=references, hypotheses=hypotheses)
    scores = []
    for reference, other in zip(map(normaliser, references), map(normaliser, hypotheses), strict=True):
        hypothesis = choose_reading(reference, other)
        words = _count_edits(reference.split(), hypothesis.split())
        scores.append(UtteranceScore(words, _count_edits(str(reference), hypothesis)))
    return scores


def align_words(reference: str, hypothesis: str) -> list[AlignedWord]:
    """Return the word alignment of two normalised texts in reading order; the hypothesis in its nearest reading."""
    from rapidfuzz.distance import Levenshtein

    left, right = reference.split(), choose_reading(reference, hypothesis).split()
    return [
        AlignedWord(_OPERATIONS[step.tag], *pair)
        for step in Levenshtein.opcodes(left, right)
        for pair in zip_longest(left[step.src_start : step.src_end], right[step.dest_start : step.dest_end])
    ]


def match_equal_words(reference: Sequence[str], hypothesis: Sequence[str]) -> list[tuple[int, int]]:
    """Align two lists of words and return the two indices of each pair of equal words."""
    from rapidfuzz.distance import Levenshtein

    blocks = Levenshtein.opcodes(reference, hypothesis).as_matching_blocks()
    return [(block.a + at, block.b + at) for block in blocks for at in range(block.size)]


def sum_counts(counts: Sequence[ErrorCounts]) -> ErrorCounts:
    """Return the sum of many counts."""
    return ErrorCounts(
        sum(each.substitutions for each in counts),
        sum(each.deletions for each in counts),
        sum(each.insertions for each in counts),
        sum(each.hits for each in counts),
    )


def compute_corpus_wer(references: Sequence[str], hypotheses: Sequence[str]) -> float | None:
    """Compute the corpus WER of texts with jiwer, without normalising them; None if the references have no word.

    `habla_wer/` is the same as a metric of Hugging Face `evaluate`, whose import takes six seconds of CPU time.
    """
    import jiwer

    check_equal_lengths(references=references, hypotheses=hypotheses)
    if not any(each.split() for each in references):
        return None
    return float(jiwer.process_words(list(references), list(hypotheses)).wer)


def check_equal_lengths(**lists: Sized) -> None:
    """Raise `EvaluationError` if the lists, named by their keywords, do not have one entry for each utterance."""
    if len({len(each) for each in lists.values()}) > 1:
        counts = " and ".join(f"{len(each)} {name}" for name, each in lists.items())
        raise EvaluationError(f"{counts} cannot be paired; pass one of each for every utterance")


def _count_edits(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    """Align two lists of words, or two texts by their characters, and count the edits."""
    from rapidfuzz.distance import Levenshtein

    if reference == hypothesis:
        return ErrorCounts(hits=len(reference))
    edits = [each.tag for each in Levenshtein.editops(reference, hypothesis)]
    substitutions, deletions = edits.count("replace"), edits.count("delete")
    return ErrorCounts(
        substitutions=substitutions,
        deletions=deletions,
        insertions=len(edits) - substitutions - deletions,
        hits=len(reference) - substitutions - deletions,
    )
