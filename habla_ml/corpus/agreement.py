"""Inter-annotator agreement: how much people differ who transcribed the same segment.

An author is a person in whatever spelling, or a source without named persons. The latest event of each author counts,
unless withdrawn. For each segment and each pair of its authors with usable texts,

    errors  = Levenshtein distance of the two texts (in words for the WER, in characters for the CER)
    length  = half the sum of their lengths
    rate    = Σ errors / Σ length over all pairs

The rate is symmetric. With the length of one text in place of the mean it would be jiwer's WER. Texts are compared
under the conventions and after the scorer's normalisation, so the rate is comparable with a model's WER. Intervals are
95 % intervals over whole sessions by Student's t, which hold with few sessions too.

A person who confirms a text has seen it and agrees more easily than one who types, so the rate is a lower bound. The
floor of every WER is the rate over blind texts alone: two people who typed the same segment without a text in view.

Memory has one day, the sums of each pair of people, and two sums of each session.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.annotation.event_log import load_events, read_valid_events
from habla_ml.annotation.events import AnnotationEvent, parse_event
from habla_ml.corpus.conventions import Conventions
from habla_ml.corpus.copies import load_names_of_copies
from habla_ml.corpus.references import find_blind_texts
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.database import ScratchDatabase, open_scratch_database
from habla_ml.names import canonical_name, choose_spellings
from habla_ml.recordings.days import load_day

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEVEL: Final = 0.95
_SUMS: Final = ("word_errors", "words", "character_errors", "characters")
_CREATE_SUMS: Final = """
CREATE TABLE sums (session_id VARCHAR, word_errors BIGINT, words DOUBLE, character_errors BIGINT, characters DOUBLE)
"""
_JOIN_SUMS: Final = """
SELECT coalesce(name, session_id) AS session_id, sum(word_errors)::BIGINT AS word_errors, sum(words) AS words,
    sum(character_errors)::BIGINT AS character_errors, sum(characters) AS characters
FROM sums LEFT JOIN copies USING (session_id) GROUP BY ALL ORDER BY session_id
"""


@dataclass
class _Differences:
    """Sums over comparisons of two texts; the length of a comparison is the mean of its texts."""

    comparisons: int = 0
    identical: int = 0
    """Comparisons of the same words."""
    word_errors: int = 0
    words: float = 0.0
    character_errors: int = 0
    characters: float = 0.0

    def add(self, other: _Differences) -> None:
        """Add the sums of `other`; means of lengths are halves, so the order does not change a sum."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass(frozen=True)
class DisagreementRate:
    """Errors per mean length, with its 95 % interval if there are at least two sessions."""

    errors: int
    length: float
    interval: tuple[float, float] | None

    @property
    def value(self) -> float:
        """The rate; 0 without any comparison."""
        return self.errors / self.length if self.length else 0.0


@dataclass(frozen=True)
class AuthorPair:
    """Agreement of two authors on the segments that both transcribed."""

    first: str
    second: str
    segments: int
    identical: int
    """Segments with the same words."""
    wer: float
    cer: float


@dataclass(frozen=True)
class AnnotatorAgreement:
    """Agreement of all authors."""

    segments: int
    """Segments with at least two usable texts."""
    sessions: int
    comparisons: int
    """Pairs of texts; three authors of a segment give three."""
    usability_conflicts: int
    """Pairs of authors with one usable text and one `unusable`."""
    wer: DisagreementRate
    cer: DisagreementRate
    pairs: tuple[AuthorPair, ...]
    """Sorted by the number of segments, most first."""
    by_session: pa.Table
    """`session_id`, `word_errors` and `words`, the mean lengths of the compared texts; sorted by session."""

    @property
    def summary(self) -> str:
        """The rates in one line."""
        if not self.comparisons:
            return "not measured: no segment has transcripts of two people"
        low_high = self.wer.interval
        interval = "no interval for one session" if low_high is None else "{:.1%} to {:.1%}".format(*low_high)
        return (
            f"{self.wer.value:.1%} of words ({interval}), {self.cer.value:.1%} of characters, over {self.segments} "
            f"segments of {self.sessions} sessions"
        )


def measure_agreement(
    lake: Lake,
    conventions: Conventions,
    normalise_pair: Callable[[str, str], tuple[str, str]],
    days: Iterable[str] | None = None,
    only_blind: bool = False,
) -> AnnotatorAgreement:
    """Compare all texts of the segments with at least two authors.

    Args:
        lake: Where the log is.
        conventions: They apply to both texts, as for the corpus.
        normalise_pair: The scorer's normalisation of two texts that are compared.
        days: Days of recording; None for all.
        only_blind: Whether to compare blind texts alone.
    """
    if days is None:
        days = list(catalogue.ANNOTATIONS.keys(lake))
    by_pair: dict[tuple[str, str], _Differences] = defaultdict(_Differences)
    segments = usability_conflicts = 0
    typed: Counter[str] = Counter()
    compared_days = []
    with open_scratch_database(lake.work_folder) as database:
        database.run(_CREATE_SUMS)
        for day in sorted(days):
            of_day: dict[str, _Differences] = defaultdict(_Differences)
            for event_by_author in _find_shared_segments(lake, day, only_blind):
                typed.update(event.author for event in event_by_author.values())
                session = next(iter(event_by_author.values())).session_id
                texts = {author: _prepare_text(event, conventions) for author, event in event_by_author.items()}
                compared, n_conflicts = _compare_authors(texts, normalise_pair)
                for authors, differences in compared.items():
                    by_pair[authors].add(differences)
                    of_day[session].add(differences)
                usability_conflicts += n_conflicts
                segments += bool(compared)
            if of_day:
                compared_days.append(day)
                _store_sums(database, of_day)
        by_session = _join_sessions(lake, database, compared_days)
    shown = {canonical_name(name): spelling for name, spelling in choose_spellings(typed.elements()).items()}
    pairs = [_summarise_pair(shown[one], shown[other], each) for (one, other), each in sorted(by_pair.items())]
    errors, words, character_errors, characters = (by_session[name].to_numpy() for name in _SUMS)
    return AnnotatorAgreement(
        segments=segments,
        sessions=by_session.num_rows,
        comparisons=sum(each.comparisons for each in by_pair.values()),
        usability_conflicts=usability_conflicts,
        wer=estimate_rate(errors, words),
        cer=estimate_rate(character_errors, characters),
        pairs=tuple(sorted(pairs, key=lambda pair: (-pair.segments, pair.first, pair.second))),
        by_session=by_session.select(["session_id", "word_errors", "words"]),
    )


def _compare_authors(
    texts: Mapping[str, str], normalise_pair: Callable[[str, str], tuple[str, str]]
) -> tuple[dict[tuple[str, str], _Differences], int]:
    """Return the differences of each pair of authors with usable texts, and the number of usability conflicts."""
    compared, n_conflicts = {}, 0
    for authors in combinations(sorted(texts), 2):
        one, other = normalise_pair(texts[authors[0]], texts[authors[1]])
        if not one or not other:
            n_conflicts += one != other
        else:
            compared[authors] = _compare_texts(one, other)
    return compared, n_conflicts


def _store_sums(database: ScratchDatabase, by_session: Mapping[str, _Differences]) -> None:
    columns = {"session_id": pa.array(by_session.keys(), pa.string())}
    columns |= {name: pa.array([getattr(each, name) for each in by_session.values()]) for name in _SUMS}
    database.load_columns("INSERT INTO sums FROM batches", columns)


def _join_sessions(lake: Lake, database: ScratchDatabase, days: Iterable[str]) -> pa.Table:
    """Return the sums of each session, copies under one name, sorted by session."""
    sessions = [session for (session,) in database.fetch_rows("SELECT DISTINCT session_id FROM sums")]
    recordings = [found for day in days if (found := load_day(lake, day)) is not None]
    load_names_of_copies(lake, database, [each.metadata for each in recordings], sessions)
    return database.fetch_table(_JOIN_SUMS)


def _find_shared_segments(lake: Lake, day: str, only_blind: bool) -> Iterator[dict[str, AnnotationEvent]]:
    """Yield canonical name of an author → their latest event for every segment with at least two authors."""
    log = load_events(lake, day)
    if log is None:
        return
    table = read_valid_events(lake, log.parquet)
    authors = pc.if_else(pc.equal(table["person"], ""), table["source"], table["person"])
    names = pa.array(map(canonical_name, authors.to_pylist()), pa.string())
    by_segment = pa.table({"segment_id": table["segment_id"], "author": names}).group_by("segment_id")
    counted = by_segment.aggregate([("author", "count_distinct")])
    shared = counted.filter(pc.greater(counted["author_count_distinct"], 1))["segment_id"]
    histories: dict[str, list[AnnotationEvent]] = defaultdict(list)
    for row in table.filter(pc.is_in(table["segment_id"], shared.combine_chunks())).to_pylist():
        histories[row["segment_id"]].append(parse_event(row))
    for history in histories.values():
        # The log is sorted by time within a segment, so a later event replaces an earlier one.
        chosen = find_blind_texts(history) if only_blind else history
        last = {canonical_name(event.author): event for event in chosen}
        if len(last) > 1:
            yield last


def _prepare_text(event: AnnotationEvent, conventions: Conventions) -> str:
    """Return the sentence to compare; empty if the event gives no usable text."""
    if event.status == "unusable":
        return ""
    reading = conventions.read(event.text)
    return "" if reading.problem else reading.sentence


def _compare_texts(text: str, other: str) -> _Differences:
    import jiwer

    errors = [0, 0]
    if text != other:
        compared = jiwer.process_words(text, other), jiwer.process_characters(text, other)
        errors = [each.substitutions + each.deletions + each.insertions for each in compared]
    return _Differences(
        comparisons=1,
        identical=int(not errors[0]),
        word_errors=errors[0],
        words=(len(text.split()) + len(other.split())) / 2,
        character_errors=errors[1],
        characters=(len(text) + len(other)) / 2,
    )


def _summarise_pair(first: str, second: str, shared: _Differences) -> AuthorPair:
    return AuthorPair(
        first=first,
        second=second,
        segments=shared.comparisons,
        identical=shared.identical,
        wer=shared.word_errors / shared.words,
        cer=shared.character_errors / shared.characters,
    )


def estimate_rate(errors: NDArray[np.int64], lengths: NDArray[np.float64]) -> DisagreementRate:
    """Estimate the rate from the errors and the length of each session, with its interval over sessions.

    The interval is that of a ratio estimate by Student's t (Cochran, Sampling techniques, 1977, chapter 6). The degrees of
    freedom are the effective number of sessions, (Σ length)² / Σ length² (Kish, Survey sampling, 1965), less one.
    """
    from scipy.special import stdtrit

    n_errors, length, sessions = int(errors.sum()), float(lengths.sum()), len(errors)
    if sessions < 2:
        return DisagreementRate(n_errors, length, None)
    rate = n_errors / length
    spread = float(((errors - rate * lengths) ** 2).sum()) * sessions / (sessions - 1)
    freedom = max(2.0, length**2 / float((lengths**2).sum())) - 1
    half = float(stdtrit(freedom, (1 + _LEVEL) / 2)) * math.sqrt(spread) / length
    return DisagreementRate(n_errors, length, (max(0.0, rate - half), rate + half))
