"""Inter-annotator agreement: how much people differ who transcribed the same segment.

An author is a person in whatever spelling, or a source without named persons. The latest event of each author counts,
unless withdrawn. For each segment and each pair of its authors with usable texts,

    errors  = Levenshtein distance of the two texts (in words for the WER, in characters for the CER)
    length  = half the sum of their lengths
    rate    = Σ errors / Σ length over all pairs

The rate is symmetric. With the length of one text in place of the mean it would be jiwer's WER. Texts are compared
under the conventions and after the scorer's normalisation, so the rate is comparable with a model's WER. Intervals are
95 % percentile intervals of a bootstrap over sessions (Bisani and Ney, ICASSP 2004), as for the models.

A person who confirms a text has seen it and agrees more easily than one who types, so the rate is a lower bound. The
floor of every WER is the rate over blind texts alone: two people who typed the same segment without a text in view.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.annotation.event_log import load_events, read_valid_events
from habla_ml.annotation.events import AnnotationEvent, parse_event
from habla_ml.corpus.conventions import Conventions
from habla_ml.corpus.copies import find_names_of_copies
from habla_ml.corpus.references import find_blind_texts
from habla_ml.lake import Lake, catalogue
from habla_ml.names import canonical_name, choose_spellings
from habla_ml.recordings.days import load_day

_BOOTSTRAP_DRAWS: Final = 2_000
_SEED: Final = 20260216


@dataclass(frozen=True)
class TranscriptDifference:
    """Difference of two texts of one segment; `words` and `characters` are the means of the two lengths."""

    segment_id: str
    session_id: str
    authors: tuple[str, str]
    """Sorted."""
    word_errors: int
    words: float
    character_errors: int
    characters: float


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
class SessionDisagreement:
    """Sums over the comparisons of one session."""

    session_id: str
    word_errors: int
    words: float
    """Mean lengths of the compared texts."""


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
    by_session: tuple[SessionDisagreement, ...] = ()
    """Sorted by session."""

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
    differences: list[TranscriptDifference] = []
    usability_conflicts = 0
    typed: list[str] = []
    compared_days: set[str] = set()
    for event_by_author in (each for day in sorted(days) for each in _find_shared_segments(lake, day, only_blind)):
        typed += [event.author for event in event_by_author.values()]
        texts = {author: _prepare_text(event, conventions) for author, event in event_by_author.items()}
        for authors in combinations(sorted(texts), 2):
            one, other = normalise_pair(texts[authors[0]], texts[authors[1]])
            if not one or not other:
                usability_conflicts += one != other
            else:
                differences.append(_compare_texts(event_by_author[authors[0]], authors, one, other))
                compared_days.add(event_by_author[authors[0]].day)
    by_pair: dict[tuple[str, str], list[TranscriptDifference]] = defaultdict(list)
    for each in differences:
        by_pair[each.authors].append(each)
    shown = {canonical_name(name): spelling for name, spelling in choose_spellings(typed).items()}
    pairs = [_summarise_pair(shown[one], shown[other], shared) for (one, other), shared in by_pair.items()]
    sessions = _name_sessions(lake, [each.session_id for each in differences], compared_days)
    return AnnotatorAgreement(
        segments=len({each.segment_id for each in differences}),
        sessions=len(set(sessions)),
        comparisons=len(differences),
        usability_conflicts=usability_conflicts,
        wer=_estimate_rate(sessions, [(each.word_errors, each.words) for each in differences]),
        cer=_estimate_rate(sessions, [(each.character_errors, each.characters) for each in differences]),
        pairs=tuple(sorted(pairs, key=lambda pair: (-pair.segments, pair.first, pair.second))),
        by_session=_sum_by_session(sessions, differences),
    )


def _sum_by_session(
    sessions: Sequence[str], differences: Sequence[TranscriptDifference]
) -> tuple[SessionDisagreement, ...]:
    sums: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for session, each in zip(sessions, differences, strict=True):
        errors, words = sums[session]
        sums[session] = (errors + each.word_errors, words + each.words)
    return tuple(SessionDisagreement(name, *totals) for name, totals in sorted(sums.items()))


def _name_sessions(lake: Lake, sessions: list[str], days: Iterable[str]) -> list[str]:
    """Return the sessions with one name for all copies of a session."""
    recordings = [found for day in sorted(days) if (found := load_day(lake, day)) is not None]
    column = pa.chunked_array([sessions], pa.string())
    names = find_names_of_copies(lake, [each.metadata for each in recordings], column)
    return [names.get(each, each) for each in sessions]


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


def _compare_texts(event: AnnotationEvent, authors: tuple[str, str], text: str, other: str) -> TranscriptDifference:
    import jiwer

    errors = [0, 0]
    if text != other:
        compared = jiwer.process_words(text, other), jiwer.process_characters(text, other)
        errors = [each.substitutions + each.deletions + each.insertions for each in compared]
    return TranscriptDifference(
        segment_id=event.segment_id,
        session_id=event.session_id,
        authors=authors,
        word_errors=errors[0],
        words=(len(text.split()) + len(other.split())) / 2,
        character_errors=errors[1],
        characters=(len(text) + len(other)) / 2,
    )


def _summarise_pair(first: str, second: str, shared: Sequence[TranscriptDifference]) -> AuthorPair:
    return AuthorPair(
        first=first,
        second=second,
        segments=len(shared),
        identical=sum(not each.word_errors for each in shared),
        wer=sum(each.word_errors for each in shared) / sum(each.words for each in shared),
        cer=sum(each.character_errors for each in shared) / sum(each.characters for each in shared),
    )


def _estimate_rate(sessions: Sequence[str], counts: Sequence[tuple[int, float]]) -> DisagreementRate:
    """Estimate the rate, and its interval by drawing whole sessions with replacement."""
    names, index = np.unique(np.asarray(sessions, dtype=np.str_), return_inverse=True)
    by_session = np.zeros((len(names), 2))
    if counts:
        np.add.at(by_session, index, np.asarray(counts, dtype=np.float64))
    errors, length = by_session.sum(axis=0).tolist()
    if len(names) < 2:
        return DisagreementRate(int(errors), length, None)
    rng, uniform = np.random.default_rng(_SEED), np.full(len(names), 1 / len(names))
    # One draw at a time, so that memory does not grow with the number of draws.
    totals = np.stack([rng.multinomial(len(names), uniform) @ by_session for _ in range(_BOOTSTRAP_DRAWS)])
    low, high = np.percentile(totals[:, 0] / totals[:, 1], [2.5, 97.5]).tolist()
    return DisagreementRate(int(errors), length, (low, high))
