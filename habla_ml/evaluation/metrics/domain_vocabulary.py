"""The domain vocabulary: terms from a list and from the corpus.

People list terms in a file (`configs/vocabulary/`). Words that are frequent in training and rare in general Spanish are
terms too. `wordfreq` (R. Speer, 2022) gives the frequency on the Zipf scale, log10 of occurrences per billion words: 3 is
once in a million. A term may have several words. Case, punctuation and the form of numbers do not count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from habla_ml.corpus.snapshot import Snapshot, read_train_sentences
from habla_ml.delimited.encoding import read_text_lines
from habla_ml.errors import InputError, SettingsError
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.evaluation.scoring.spanish_numerals import spell_cardinal
from habla_ml.lake import Lake, compute_digest

if TYPE_CHECKING:
    from habla_ml.settings.models import CorpusWordSettings, EvaluationSettings

Term = tuple[str, ...]
"""The words of a term, normalised."""

_MIN_TERM_LETTERS: Final = 4


@dataclass(frozen=True)
class DomainVocabulary:
    """Terms by their first word, longest first."""

    by_first_word: Mapping[str, tuple[Term, ...]]

    @classmethod
    def of(cls, terms: Iterable[Term]) -> DomainVocabulary:
        """Index the terms, in any order and with any repetitions."""
        index: dict[str, list[Term]] = {}
        for term in sorted(set(terms), key=lambda each: (-len(each), each)):
            index.setdefault(term[0], []).append(term)
        return cls({word: tuple(found) for word, found in index.items()})

    @property
    def digest(self) -> str:
        """sha256 of the terms; scores of different vocabularies are not comparable."""
        return compute_digest(sorted(" ".join(term) for terms in self.by_first_word.values() for term in terms))

    def __len__(self) -> int:
        return sum(len(each) for each in self.by_first_word.values())

    def find_occurrences(self, words: Sequence[str]) -> Iterator[tuple[int, Term]]:
        """Yield the first index and the term of each occurrence in normalised words, without overlaps."""
        at = 0
        while at < len(words):
            candidates = self.by_first_word.get(words[at], ())
            found = next((term for term in candidates if tuple(words[at : at + len(term)]) == term), None)
            if found:
                yield at, found
            at += len(found) if found else 1


def load_domain_vocabulary(
    lake: Lake, snapshot: Snapshot | None, settings: EvaluationSettings
) -> DomainVocabulary | None:
    """Return the listed terms and those of the snapshot's training sentences; None without terms."""
    listed = () if settings.vocabulary is None else read_terms(settings.vocabulary)
    found = () if snapshot is None else find_corpus_terms(read_train_sentences(lake, snapshot), settings.corpus_words)
    terms = (*listed, *found)
    return DomainVocabulary.of(terms) if terms else None


def read_terms(path: Path) -> tuple[Term, ...]:
    """Return the distinct terms of a file in its order. It has one term per line; `#` starts a comment.

    Raises:
        SettingsError: The file cannot be read, or a line has no word.
    """
    try:
        lines = read_text_lines(path)
    except InputError as error:
        raise SettingsError(f"vocabulary {error}") from error
    terms: dict[Term, None] = {}
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        term = tuple(normalise_spanish(text).split())
        if not term:
            raise SettingsError(f"vocabulary {path}, line {number}: {text!r} has no word; write one term per line")
        terms[term] = None
    return tuple(terms)


def find_corpus_terms(sentences: Iterable[str], limits: CorpusWordSettings) -> tuple[Term, ...]:
    """Return words that are frequent in the training sentences and rare in general Spanish, the most frequent first.

    Names count, because a class needs them. Number words do not, because most texts write digits, so they seem rare.
    """
    from wordfreq import zipf_frequency

    spelled = [spell_cardinal(number) for number in (*range(100), *range(100, 1000, 100))]
    numbers = {form for words in spelled for word in words for form in word}
    counted = Counter(word for sentence in sentences for word in normalise_spanish(sentence).split())
    found = [
        word
        for word, times in sorted(counted.items(), key=lambda each: (-each[1], each[0]))
        if times >= limits.fewest
        and len(word) >= _MIN_TERM_LETTERS
        and word.isalpha()
        and word not in numbers
        and zipf_frequency(word, "es") < limits.zipf_below
    ]
    return tuple((word,) for word in found[: limits.most])
