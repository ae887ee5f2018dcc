"""Corpus report: hours, annotated share, vocabulary, conventions, and flagged segments with audio.

The report is computed from segment metadata and text in batches. Memory grows with the number of days, speakers and
distinct words, not with the segments. Audio is read only for the flagged segments that the page shows.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.annotation.review_queue import load_review_requests
from habla_ml.corpus.build import CorpusDay, list_corpus_days
from habla_ml.corpus.language import detect_language
from habla_ml.corpus.snapshot import Snapshot, Split, count_blind_references, load_snapshot
from habla_ml.corpus.violations import ReviewRequestsBySegment, find_confirmed_rules
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.shards import find_rows, iterate_batches
from habla_ml.names import canonical_name
from habla_ml.recordings.days import PublishedDay, load_day
from habla_ml.recordings.speaker_labels import UNKNOWN_SPEAKER
from habla_ml.settings import QualitySettings

LOUDNESS_STEP_DB: Final = 5

_REPORT_BATCH_ROWS: Final = 8192
_MAX_VOCABULARY_POINTS: Final = 200
_WORD: Final = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_COMMON_COLUMNS: Final = ("segment_id", "session_id", "file_name", "speaker", "duration_s", "loudness_dbfs")
_FLAG_COLUMNS: Final = ("segment_id", "session_id", "file_name", "duration_s", "loudness_dbfs", "reason")
_TEXT_COLUMNS: Final = (*_COMMON_COLUMNS, "text", "sentence", "problem", "violations", "annotated_at")


@dataclass(frozen=True)
class FlaggedSegment:
    """One segment that a person should check."""

    segment_id: str
    day: str
    session_id: str
    file_name: str
    speaker: str
    duration_s: float
    loudness_dbfs: float
    text: str
    """As typed; empty without an annotation."""
    reason: str
    flac: bytes | None = field(default=None, repr=False)
    """16 kHz mono; None if the lake lacks it or the page would become too large."""


@dataclass
class FlaggedSegments:
    """Counts by reason, and the newest `most` segments of each reason; days must be added in order."""

    most: int
    counts: Counter[str] = field(default_factory=Counter)
    newest: dict[str, deque[FlaggedSegment]] = field(default_factory=dict)

    def add(self, rows: pa.Table, reasons: pa.Array, day: str) -> None:
        """Add the rows that have a reason."""
        for row in rows.append_column("reason", reasons).filter(pc.is_valid(reasons)).to_pylist():
            self.counts[row["reason"]] += 1
            own = {name: row[name] for name in _FLAG_COLUMNS}
            flagged = FlaggedSegment(
                **own, day=day, speaker=row["speaker"] or UNKNOWN_SPEAKER, text=row.get("text") or ""
            )
            self.newest.setdefault(flagged.reason, deque(maxlen=self.most)).append(flagged)

    def select_newest(self) -> list[FlaggedSegment]:
        """Return at most `most` distinct segments, newest first from all reasons in turn, sorted by reason."""
        in_turn = chain.from_iterable(zip_longest(*(reversed(self.newest[reason]) for reason in sorted(self.newest))))
        by_id: dict[str, FlaggedSegment] = {}
        for each in in_turn:
            if each is not None:
                by_id.setdefault(each.segment_id, each)
        return sorted(list(by_id.values())[: self.most], key=lambda each: each.reason)


@dataclass(frozen=True)
class DaySummary:
    """One day of recording."""

    day: str
    segments: int
    recorded_h: float
    annotated: int
    usable: int
    """Annotated segments that are references."""
    usable_h: float


@dataclass(frozen=True)
class Hours:
    """Hours of one speaker, role or level of loudness."""

    name: str
    recorded_h: float
    usable_h: float


@dataclass(frozen=True)
class VocabularyPoint:
    """Number of distinct words among the first `words` words of the corpus, in order of days."""

    words: int
    distinct: int


@dataclass(frozen=True)
class ConventionsUsage:
    """Conventions in use, and the number of days."""

    title: str
    digest: str
    days: int


@dataclass(frozen=True)
class CorpusReport:
    """State of the corpus; the same lake gives the same report."""

    days: tuple[DaySummary, ...]
    speakers: tuple[Hours, ...]
    """Most recorded first; a label that is local to its session is not one person across sessions."""
    roles: tuple[Hours, ...]
    """Of the newest snapshot, if it has roles."""
    loudness: tuple[tuple[int, Hours], ...]
    """Lower edge in dBFS → hours in the interval of `LOUDNESS_STEP_DB`, without gaps, quietest first."""
    vocabulary: tuple[VocabularyPoint, ...]
    conventions: tuple[ConventionsUsage, ...]
    problems: Mapping[str, int]
    """Problem → annotated segments that are no references."""
    violations: Mapping[str, int]
    """Requirement of the conventions → segments that break it."""
    confirmed: Mapping[str, int]
    """Requirement → segments that break it and that a person confirmed in review."""
    flagged_counts: Mapping[str, int]
    """Reason → flagged segments."""
    flagged: tuple[FlaggedSegment, ...]
    """The newest of each reason."""
    snapshot: Snapshot | None
    blind: Mapping[Split, int] = field(default_factory=dict)
    """Split of the newest snapshot → references that were typed without a text in view."""

    @property
    def recorded_h(self) -> float:
        """Hours in the lake."""
        return sum(day.recorded_h for day in self.days)

    @property
    def usable_h(self) -> float:
        """Hours with a usable transcript."""
        return sum(day.usable_h for day in self.days)

    @property
    def annotated_share(self) -> float:
        """Share of the recorded segments with an annotation, 0…1."""
        segments = sum(day.segments for day in self.days)
        return sum(day.annotated for day in self.days) / segments if segments else 0.0

    def redact(self) -> CorpusReport:
        """Return the report without audio, text, sessions and names, which may be kept permanently."""
        numbered = (replace(each, name=f"speaker {n}") for n, each in enumerate(self.speakers, 1))
        return replace(self, speakers=tuple(numbered), flagged=())


@dataclass
class _ReportTotals:
    """Sums over the days read so far."""

    flagged: FlaggedSegments
    days: list[DaySummary] = field(default_factory=list)
    recorded_s: dict[str, Counter[Any]] = field(default_factory=lambda: defaultdict(Counter))
    usable_s: dict[str, Counter[Any]] = field(default_factory=lambda: defaultdict(Counter))
    words: int = 0
    vocabulary: set[str] = field(default_factory=set)
    points: list[VocabularyPoint] = field(default_factory=list)
    conventions: Counter[tuple[str, str]] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    confirmed: Counter[str] = field(default_factory=Counter)


def describe_corpus(lake: Lake, settings: QualitySettings) -> CorpusReport:
    """Compute the report of the whole lake."""
    totals = _ReportTotals(FlaggedSegments(settings.flagged_segments_shown))
    review_requests = load_review_requests(lake)
    pointers, texts = catalogue.RECORDINGS.read(lake), {each.day: each for each in list_corpus_days(lake)}
    recorded = {name.removeprefix(catalogue.RECORDINGS.prefix) for name in pointers.found}
    for day in sorted({*recorded, *texts}):
        recordings, text = load_day(pointers, day), texts.get(day)
        if recordings is not None:
            _read_recordings(lake, recordings, settings, totals)
        if text is not None:
            _read_text(lake, text, review_requests, totals)
        totals.days.append(_summarise_day(day, recordings, text))
    latest = lake.read_pointer(catalogue.SPLITS)
    snapshot = None if latest is None else load_snapshot(lake, latest.value["snapshot"])
    return CorpusReport(
        days=tuple(totals.days),
        speakers=_sum_hours_by_speaker(totals),
        roles=() if snapshot is None else _sum_hours_by_role(lake, snapshot),
        loudness=_sum_hours_by_loudness(totals),
        vocabulary=_thin_points(totals.points),
        conventions=tuple(ConventionsUsage(*of, days) for of, days in totals.conventions.most_common()),
        problems=dict(totals.problems.most_common()),
        violations=dict(totals.violations.most_common()),
        confirmed=dict(totals.confirmed.most_common()),
        flagged_counts=dict(totals.flagged.counts.most_common()),
        flagged=_attach_audio(lake, totals.flagged.select_newest(), settings.largest_audio_bytes),
        snapshot=snapshot,
        blind={} if snapshot is None else count_blind_references(lake, snapshot),
    )


def _summarise_day(day: str, recordings: PublishedDay | None, text: CorpusDay | None) -> DaySummary:
    segments, recorded_h = (recordings.segments, recordings.hours) if recordings else (0, 0.0)
    counts, usable_h = (text.counts, text.hours) if text else ({"annotated": 0, "usable": 0}, 0.0)
    return DaySummary(day, segments, recorded_h, counts["annotated"], counts["usable"], usable_h)


def _read_batches(lake: Lake, object_id: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    for batch in iterate_batches(lake, object_id, columns, _REPORT_BATCH_ROWS):
        yield pa.Table.from_batches([batch])


def _read_recordings(lake: Lake, recordings: PublishedDay, settings: QualitySettings, totals: _ReportTotals) -> None:
    for rows in _read_batches(lake, recordings.metadata, [*_COMMON_COLUMNS, "clipped_share"]):
        _add_seconds(rows, totals.recorded_s)
        clipped = pc.greater_equal(rows["clipped_share"], settings.clipped_from_sample_share)
        silent = pc.less_equal(rows["loudness_dbfs"], settings.silent_below_dbfs)
        totals.flagged.add(rows, pc.if_else(clipped, "clipped", pc.if_else(silent, "silent", None)), recordings.day)


def _read_text(lake: Lake, text: CorpusDay, review_requests: ReviewRequestsBySegment, totals: _ReportTotals) -> None:
    totals.conventions[(text.conventions, text.conventions_digest)] += 1
    totals.problems.update(text.problems)
    for rows in _read_batches(lake, text.parquet, _TEXT_COLUMNS):
        usable = rows.filter(pc.is_null(rows["problem"]))
        _add_seconds(usable, totals.usable_s)
        words = _WORD.findall("\n".join(usable["sentence"].to_pylist()).casefold())
        totals.words += len(words)
        totals.vocabulary.update(words)
        totals.points.append(VocabularyPoint(totals.words, len(totals.vocabulary)))
        confirmed = _find_confirmed(rows, text.conventions_digest, review_requests)
        totals.flagged.add(rows, _find_text_reasons(rows, confirmed, totals), text.day)


def _find_confirmed(
    rows: pa.Table, conventions_digest: str, review_requests: ReviewRequestsBySegment
) -> dict[str, frozenset[str]]:
    """Return segment → the requirements that a person confirmed in review."""
    requested = rows.filter(pc.is_in(rows["segment_id"], pa.array(sorted(review_requests), pa.string())))
    return {
        row["segment_id"]: find_confirmed_rules(
            review_requests[row["segment_id"]], row["text"], row["annotated_at"], conventions_digest
        )
        for row in requested.to_pylist()
    }


def _find_text_reasons(rows: pa.Table, confirmed: Mapping[str, frozenset[str]], totals: _ReportTotals) -> pa.Array:
    """Count the broken rules; return each row's problem, its language or its first unconfirmed rule, or null."""
    columns = [name for name in ("segment_id", "problem", "sentence", "violations") if name in rows.column_names]
    reasons: list[str | None] = []
    for row in rows.select(columns).to_pylist():
        broken = sorted(set(row.get("violations") or ()))
        known = confirmed.get(row["segment_id"], frozenset()).intersection(broken)
        totals.violations.update(broken)
        totals.confirmed.update(known)
        unconfirmed = [each for each in broken if each not in known]
        if row["problem"] is not None:
            reasons.append(None if row["problem"] == "unusable" else row["problem"])
        elif detect_language(row["sentence"]) not in ("es", None):
            reasons.append("not Spanish")
        else:
            reasons.append(f"breaks a rule: {unconfirmed[0]}" if unconfirmed else None)
    return pa.array(reasons, pa.string())


def _add_seconds(rows: pa.Table, seconds: Mapping[str, Counter[Any]]) -> None:
    level = pc.cast(pc.floor(pc.divide(rows["loudness_dbfs"], LOUDNESS_STEP_DB)), pa.int64())
    keyed = {"speaker": pc.fill_null(rows["speaker"], UNKNOWN_SPEAKER), "loudness": level}
    for name, keys in keyed.items():
        for key, total in _sum_seconds(pa.table({"key": keys, "duration_s": rows["duration_s"]})):
            seconds[name][key] += total


def _sum_seconds(table: pa.Table) -> Iterator[tuple[Any, Any]]:
    """Yield each key of a table with the columns `key` and `duration_s`, and its seconds."""
    sums = table.group_by("key", use_threads=False).aggregate([("duration_s", "sum")])
    return zip(sums["key"].to_pylist(), sums["duration_s_sum"].to_pylist(), strict=True)


def _sum_hours_by_speaker(totals: _ReportTotals) -> tuple[Hours, ...]:
    """Return the hours of each speaker, most recorded first, under the spelling with most recorded hours."""
    recorded, usable = totals.recorded_s["speaker"], totals.usable_s["speaker"]
    shown: dict[str, str] = {}
    sums: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for name in sorted(recorded.keys() | usable.keys(), key=lambda name: (-recorded[name], name)):
        key = shown.setdefault(canonical_name(name), name)
        sums[key] = (sums[key][0] + recorded[name], sums[key][1] + usable[name])
    order = sorted(sums, key=lambda key: (-sums[key][0], key))
    return tuple(Hours(key, sums[key][0] / 3600, sums[key][1] / 3600) for key in order)


def _sum_hours_by_loudness(totals: _ReportTotals) -> tuple[tuple[int, Hours], ...]:
    recorded, usable = totals.recorded_s["loudness"], totals.usable_s["loudness"]
    steps = recorded.keys() | usable.keys()
    lows = {step: step * LOUDNESS_STEP_DB for step in range(min(steps, default=0), max(steps, default=-1) + 1)}
    return tuple(
        (low, Hours(f"{low} to {low + LOUDNESS_STEP_DB} dBFS", recorded[step] / 3600, usable[step] / 3600))
        for step, low in lows.items()
    )


def _sum_hours_by_role(lake: Lake, snapshot: Snapshot) -> tuple[Hours, ...]:
    sums: dict[str, float] = defaultdict(float)
    for batch in iterate_batches(lake, snapshot.segments, ["role", "duration_s"]):
        if "role" not in batch.schema.names:
            return ()
        keys = pc.fill_null(batch["role"], "unknown")
        for role, total in _sum_seconds(pa.table({"key": keys, "duration_s": batch["duration_s"]})):
            sums[role] += total
    largest_first = sorted(sums.items(), key=lambda each: (-each[1], each[0]))
    return tuple(Hours(role, total / 3600, total / 3600) for role, total in largest_first)


def _thin_points(points: Sequence[VocabularyPoint]) -> tuple[VocabularyPoint, ...]:
    """Return about two hundred points at most, including the last one."""
    step = -(-len(points) // _MAX_VOCABULARY_POINTS) or 1
    return (VocabularyPoint(0, 0), *points[-1::-step][::-1]) if points else ()


def _attach_audio(lake: Lake, flagged: Sequence[FlaggedSegment], most_bytes: int) -> tuple[FlaggedSegment, ...]:
    """Return the segments with their FLAC in order, each only if it fits into the rest of `most_bytes`."""
    ids_by_day = {day: {each.segment_id for each in flagged if each.day == day} for day in {e.day for e in flagged}}
    audio = dict(chain.from_iterable(_read_audio(lake, day, ids) for day, ids in ids_by_day.items()))
    shown, left = [], most_bytes
    for each in flagged:
        flac = audio.get(each.segment_id)
        if flac is not None and len(flac) <= left:
            left -= len(flac)
            each = replace(each, flac=flac)
        shown.append(each)
    return tuple(shown)


def _read_audio(lake: Lake, day: str, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the FLAC of the wanted segments; reads the audio of only the row groups that contain one."""
    if (recordings := load_day(lake, day)) is None:
        return
    for found in find_rows(lake, recordings.parquet, "segment_id", wanted.__contains__, ["segment_id", "audio"]):
        yield from zip(*(found.rows[name].to_pylist() for name in ("segment_id", "audio")), strict=True)
