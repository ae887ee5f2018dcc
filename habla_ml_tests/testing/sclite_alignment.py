"""A word aligner with the weights of NIST's sclite, written plainly: what our counts are held against."""

from collections.abc import Sequence

SUBSTITUTION, INSERTION, DELETION = 4, 3, 3


def count_sclite_edits(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[int, int, int, int]:
    """S, D, I and H of an alignment of least weight; among those, one of fewest edits."""
    return _count_edits(reference, hypothesis, (SUBSTITUTION, DELETION, INSERTION))


def count_levenshtein_edits(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[int, int, int, int]:
    """S, D, I and H of an alignment of fewest edits."""
    return _count_edits(reference, hypothesis, (1, 1, 1))


def _count_edits(reference, hypothesis, weights):
    """Each cell: weight, edits, S, D, I, H; smaller comes first."""
    substitution, deletion, insertion = weights
    row = [(insertion * at, at, 0, 0, at, 0) for at in range(len(hypothesis) + 1)]
    for i, spoken in enumerate(reference, start=1):
        above, row = row, [(deletion * i, i, 0, i, 0, 0)]
        for j, recognised in enumerate(hypothesis, start=1):
            w, e, s, d, n, h = above[j - 1]
            diagonal = (w, e, s, d, n, h + 1) if spoken == recognised else (w + substitution, e + 1, s + 1, d, n, h)
            w, e, s, d, n, h = above[j]
            deleted = (w + deletion, e + 1, s, d + 1, n, h)
            w, e, s, d, n, h = row[j - 1]
            inserted = (w + insertion, e + 1, s, d, n + 1, h)
            row.append(min(diagonal, deleted, inserted, key=lambda cell: cell[:2]))
    return row[-1][2:]
