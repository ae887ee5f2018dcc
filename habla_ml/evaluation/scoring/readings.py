"""Texts that can be read aloud in several ways, and the choice of the reading that is nearest to a reference.

"21" is read "veintiuno", "veintiún" or "veintiuna", and "3:15" is read "tres quince" or "tres y cuarto". A text is a
sequence of spans. Each span has one or more readings, and each word of a reading has one or more forms. The first
reading, in the first forms, is the text itself.

The readings belong to what is written in digits, signs and abbreviations. Words stay as they are, because "un" for
"uno" in a text of words is an error of the recogniser.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

Word = tuple[str, ...]
"""The accepted forms of one word; the first is the default."""
Reading = tuple[Word, ...]
"""The words of one reading; it is empty where a sign may stay silent."""
Span = tuple[Reading, ...]
"""The readings of one part of a text; the first is the default."""
Spans = tuple[Span, ...]
"""The parts of a text, in reading order."""


class TextWithReadings(str):
    """A normalised text in its first reading, with all its readings in `spans`."""

    __slots__ = ("spans",)
    spans: tuple[Span, ...]

    @classmethod
    def of(cls, spans: tuple[Span, ...]) -> str:
        """Return the text of the spans; a plain `str` if there is only one reading."""
        first: list[str] = []
        is_single = True
        for span in spans:
            is_single = is_single and len(span) == 1
            for word in span[0]:
                first.append(word[0])
                is_single = is_single and len(word) == 1
        if is_single:
            return " ".join(first)
        text = cls(" ".join(first))
        text.spans = spans
        return text


def parse_words(text: str) -> Reading:
    """Return the words of a text, each with its forms separated by `|`: `veinte mil|miles`."""
    return tuple(tuple(word.split("|")) for word in text.split())


def list_spans(text: str) -> tuple[Span, ...]:
    """Return the spans of a normalised text; each word of a plain `str` is a span with one reading."""
    if isinstance(text, TextWithReadings):
        return text.spans
    return tuple((((word,),),) for word in text.split())


def choose_reading(reference: str, hypothesis: str) -> str:
    """Return the hypothesis in the reading with the fewest word errors against the reference.

    The reference keeps its first reading, whatever the hypothesis, so that its number of words is the same for every
    model. Where the hypothesis has a word or a span in another reading of the reference, the result has the words of
    the first reading. On ties the earlier reading is chosen.

    Both texts are normalised (`normalisation.normalise_spanish`). Without readings the hypothesis is returned.
    """
    if reference == hypothesis or not (
        isinstance(reference, TextWithReadings) or isinstance(hypothesis, TextWithReadings)
    ):
        return str(hypothesis)
    expected, found = list_spans(reference), list_spans(hypothesis)
    forms = frozenset(form for span in expected for reading in span for word in reading for form in word)
    found = tuple(_drop_useless_readings(span, forms) for span in found)
    return " ".join(_ReadingSearch(expected, found).run())


def _drop_useless_readings(span: Span, forms: frozenset[str]) -> Span:
    """Return the readings that can be aligned in different ways with a reference of these word forms."""
    if len(span) == 1:
        return span
    kept: dict[Reading, Reading] = {}
    for reading in span:
        kept.setdefault(tuple(tuple(form for form in word if form in forms) for word in reading), reading)
    return tuple(kept.values())


def is_same_text(one: str, other: str) -> bool:
    """Return whether two normalised texts have a reading in common."""
    return one == other or choose_reading(one, other) == one


@dataclass(frozen=True)
class _Path:
    """The words of a chosen reading, from its last word back to its first."""

    words: tuple[str, ...]
    before: _Path | None

    def list_words(self) -> list[str]:
        parts: list[tuple[str, ...]] = []
        at: _Path | None = self
        while at is not None:
            parts.append(at.words)
            at = at.before
        return [word for part in reversed(parts) for word in part]


_START = _Path((), None)


class _Cell(NamedTuple):
    """The best alignment of a start of the hypothesis with a start of the reference."""

    errors: int
    path: _Path


_Row = list[_Cell]
"""One cell for each number of aligned reference words."""


class _ReadingSearch:
    """Levenshtein's dynamic programming over the readings of a hypothesis."""

    def __init__(self, reference: tuple[Span, ...], hypothesis: tuple[Span, ...]) -> None:
        self._words = [word for span in reference for word in span[0]]
        self._hypothesis = hypothesis
        self._other_readings: list[tuple[int, int, Reading]] = []
        """First word, end and words of every reading of the reference but the first."""
        start = 0
        for span in reference:
            end = start + len(span[0])
            self._other_readings += [(start, end, reading) for reading in span[1:]]
            start = end

    def run(self) -> list[str]:
        """Return the words of the best reading of the hypothesis."""
        rows: list[_Row] = [[_Cell(at, _START) for at in range(len(self._words) + 1)]]
        arrivals: dict[int, list[tuple[int, _Cell]]] = {}
        for at in range(len(self._hypothesis) + 1):
            if at:
                rows.append(self._read_span(rows[at - 1], self._hypothesis[at - 1]))
            for end, cell in arrivals.get(at, ()):
                rows[at] = self._arrive(rows[at], end, cell)
            self._follow_other_readings(rows, at, arrivals)
        return rows[-1][-1].path.list_words()

    def _read_span(self, row: _Row, span: Span) -> _Row:
        """Return the row after a span of the hypothesis."""
        best: _Row | None = None
        for reading in span:
            after = row
            for word in reading:
                after = self._read_word(after, word)
            best = (
                after
                if best is None
                else [min(pair, key=lambda each: each.errors) for pair in zip(best, after, strict=True)]
            )
        return best or row

    def _read_word(self, row: _Row, word: Word) -> _Row:
        insertion = row[0]
        after = [_Cell(insertion.errors + 1, _Path(word[:1], insertion.path))]
        for at, expected in enumerate(self._words):
            before = row[at]
            if not _is_same_word(expected, word):
                best, text = before.errors + 1, word[:1]
            else:
                best, text = before.errors, expected[:1]
            cell = _Cell(best, before.path)
            if row[at + 1].errors + 1 < best:
                best, text, cell = row[at + 1].errors + 1, word[:1], row[at + 1]
            if after[at].errors + 1 < best:  # the reference word is deleted
                after.append(_Cell(after[at].errors + 1, after[at].path))
            else:
                after.append(_Cell(best, _Path(text, cell.path)))
        return after

    def _follow_other_readings(self, rows: list[_Row], at: int, arrivals: dict[int, list[tuple[int, _Cell]]]) -> None:
        """Match the hypothesis from span `at` with the other readings of the reference; a match has no errors."""
        for start, end, reading in self._other_readings:
            before = rows[at][start]
            for stop in self._match(reading, at):
                first = tuple(word[0] for word in self._words[start:end])
                cell = _Cell(before.errors, _Path(first, before.path))
                if stop == at:
                    rows[at] = self._arrive(rows[at], end, cell)
                else:
                    arrivals.setdefault(stop, []).append((end, cell))

    def _match(self, reading: Reading, at: int) -> set[int]:
        """Return the spans of the hypothesis at which the reading can end, if it begins at span `at`."""
        if not reading:
            return {at}
        if at == len(self._hypothesis):
            return set()
        found: set[int] = set()
        for own in self._hypothesis[at]:
            if len(own) <= len(reading) and all(map(_is_same_word, own, reading)):
                found |= self._match(reading[len(own) :], at + 1)
        return found

    def _arrive(self, row: _Row, end: int, cell: _Cell) -> _Row:
        """Return the row with a better cell at `end`; the words after it may be deleted."""
        row = list(row)
        for at in range(end, len(row)):
            if cell.errors + at - end < row[at].errors:
                row[at] = _Cell(cell.errors + at - end, cell.path)
        return row


def _is_same_word(one: Word, other: Word) -> bool:
    return one[0] == other[0] or not set(one).isdisjoint(other)
