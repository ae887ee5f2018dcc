"""What the corpus report says: hours, annotated share, vocabulary, conventions, and flagged segments to listen to.

Gathered from the days' facts and text in batches: memory grows with the number of days, speakers and distinct words,
not with the segments. Audio is read for the few flagged segments that are shown, and for no other.
"""

from __future__ import annotations

import io
import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, zip_longest
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from habla_ml.annotation.review_queue import load_review_requests
from habla_ml.corpus.build import CorpusDay, load_corpus_day
from habla_ml.corpus.language import detect_language
from habla_ml.corpus.snapshot import Snapshot, load_snapshot
from habla_ml.corpus.violations import ReviewRequestsBySegment, find_confirmed_rules
from habla_ml.lake import Lake, catalogue
from habla_ml.recordings import PublishedDay, load_day
from habla_ml.recordings.speaker_labels import UNKNOWN_SPEAKER
from habla_ml.settings import QualitySettings

LOUDNESS_STEP_DB: Final = 5

_REPORT_BATCH_ROWS: Final = 8192
_MAX_VOCABULARY_POINTS: Final = 200
_WORD: Final = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_REPORT_RECORDING_COLUMNS: Final = (
    "segment_id",
    "session_id",
    "file_name",
    "speaker",
    "duration_s",
    "loudness_dbfs",
    "clipped_share",
)
_REPORT_TEXT_COLUMNS: Final = (
    "segment_id",
    "session_id",
    "file_name",
    "speaker",
    "duration_s",
    "loudness_dbfs",
    "text",
    "sentence",
    "problem",
)


@dataclass(frozen=True)
class DaySummary:
    """One day of recording."""

    day: str
    segments: int
    recorded_h: float
    annotated: int
    """Segments with a person's word on them."""
    usable: int
    """Of these, references for a training."""
    usable_h: float


@dataclass(frozen=True)
class Hours:
    """Hours of one speaker, role or level of loudness."""

    name: str
    recorded_h: float
    usable_h: float


@dataclass(frozen=True)
class VocabularyPoint:
    """How many different words the first `words` words of the corpus hold, in order of days."""

    words: int
    distinct: int


@dataclass(frozen=True)
class ConventionsUsage:
    """Conventions that days of text are written under."""

    title: str
    digest: str
    days: int


@dataclass(frozen=True)
class FlaggedSegment:
    """One segment that a person should look at."""

    segment_id: str
    day: str
    session_id: str
    file_name: str
    speaker: str
    duration_s: float
    loudness_dbfs: float
    text: str
    """As typed; empty where nobody typed anything."""
    reason: str
    flac: bytes | None = field(default=None, repr=False)
    """16 kHz mono; None where it is not in the lake, or would make the page too large."""


@dataclass(frozen=True)
class CorpusReport:
    """The state of the corpus at one moment; the same lake gives the same report."""

    days: tuple[DaySummary, ...]
    speakers: tuple[Hours, ...]
    """Most recorded first; labels that a session gave are not joined across sessions."""
    roles: tuple[Hours, ...]
    """Of the newest snapshot, where it knows roles."""
    loudness: tuple[tuple[int, Hours], ...]
    """Lower edge in dBFS → hours of the next `LOUDNESS_STEP_DB`, without gaps, quietest first."""
    vocabulary: tuple[VocabularyPoint, ...]
    conventions: tuple[ConventionsUsage, ...]
    problems: Mapping[str, int]
    """Why annotated segments are no references → how many."""
    violations: Mapping[str, int]
    """Rule of the conventions → segments whose text breaks it."""
    confirmed: Mapping[str, int]
    """Of these, the segments that were sent back for it and that a person left as they are."""
    flagged_counts: Mapping[str, int]
    """Reason → segments of the corpus that are flagged for it."""
    flagged: tuple[FlaggedSegment, ...]
    """The newest of each reason."""
    snapshot: Snapshot | None

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
        """Share of the recorded segments that a person has looked at, 0…1."""
        segments = sum(day.segments for day in self.days)
        return sum(day.annotated for day in self.days) / segments if segments else 0.0

    def redact(self) -> CorpusReport:
        """The same report with counts but nobody's voice, text, session or name: what may be kept for ever."""
        numbered = (replace(each, name=f"speaker {n}") for n, each in enumerate(self.speakers, 1))
        return replace(self, speakers=tuple(numbered), flagged=())


@dataclass
class _ReportTotals:
    """What the walk over the days has counted so far."""

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
    flagged_counts: Counter[str] = field(default_factory=Counter)
    flagged: dict[str, deque[FlaggedSegment]] = field(default_factory=dict)


def describe_corpus(lake: Lake, settings: QualitySettings) -> CorpusReport:
    """Gather the report from everything that is in the lake."""
    found, review_requests = _ReportTotals(), load_review_requests(lake)
    for day in _list_days(lake):
        recordings, text = load_day(lake, day), load_corpus_day(lake, day)
        if recordings is not None:
            _read_recordings(lake, day, recordings, settings, found)
        if text is not None:
            _read_text(lake, text, settings, review_requests, found)
        found.days.append(_summarise_day(day, recordings, text))
    chosen = _select_newest_flagged(found.flagged, settings.flagged_segments_shown)
    latest = lake.read_pointer(catalogue.SPLITS)
    snapshot = None if latest is None else load_snapshot(lake, latest.value["snapshot"])
    return CorpusReport(
        days=tuple(found.days),
        speakers=_sum_hours(found, "speaker"),
        roles=() if snapshot is None else _sum_hours_by_role(lake, snapshot),
        loudness=_sum_hours_by_loudness(found),
        vocabulary=_thin_points(found.points),
        conventions=tuple(
            ConventionsUsage(title, digest, days) for (title, digest), days in found.conventions.most_common()
        ),
        problems=dict(found.problems.most_common()),
        violations=dict(found.violations.most_common()),
        confirmed=dict(found.confirmed.most_common()),
        flagged_counts=dict(found.flagged_counts.most_common()),
        flagged=_attach_audio(lake, chosen, settings.largest_audio_bytes),
        snapshot=snapshot,
    )


def _list_days(lake: Lake) -> list[str]:
    return sorted({*catalogue.RECORDINGS.keys(lake), *catalogue.CORPUS.keys(lake)})


def _summarise_day(day: str, recordings: PublishedDay | None, text: CorpusDay | None) -> DaySummary:
    return DaySummary(
        day,
        recordings.segments if recordings else 0,
        recordings.hours if recordings else 0.0,
        text.counts["annotated"] if text else 0,
        text.counts["usable"] if text else 0,
        text.hours if text else 0.0,
    )


def _read_batches(lake: Lake, object_id: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    file = pq.ParquetFile(lake.fetch_path(object_id))
    present = [name for name in columns if name in file.schema_arrow.names]
    for batch in file.iter_batches(batch_size=_REPORT_BATCH_ROWS, columns=present):
        yield pa.Table.from_batches([batch])


def _read_recordings(
    lake: Lake, day: str, recordings: PublishedDay, settings: QualitySettings, found: _ReportTotals
) -> None:
    for rows in _read_batches(lake, recordings.facts, _REPORT_RECORDING_COLUMNS):
        _add_seconds(rows, found.recorded_s)
        clipped = pc.greater_equal(rows["clipped_share"], settings.clipped_from_sample_share)
        silent = pc.less_equal(rows["loudness_dbfs"], settings.silent_below_dbfs)
        _flag_rows(rows, pc.if_else(clipped, "clipped", pc.if_else(silent, "silent", None)), day, settings, found)


def _read_text(
    lake: Lake,
    text: CorpusDay,
    settings: QualitySettings,
    review_requests: ReviewRequestsBySegment,
    found: _ReportTotals,
) -> None:
    found.conventions[(text.conventions, text.conventions_digest)] += 1
    found.problems.update(text.problems)
    for rows in _read_batches(lake, text.parquet, (*_REPORT_TEXT_COLUMNS, "violations", "annotated_at")):
        usable = rows.filter(pc.is_null(rows["problem"]))
        _add_seconds(usable, found.usable_s)
        words = _WORD.findall("\n".join(usable["sentence"].to_pylist()).casefold())
        found.words += len(words)
        found.vocabulary.update(words)
        found.points.append(VocabularyPoint(found.words, len(found.vocabulary)))
        _flag_rows(
            rows,
            _find_text_reasons(rows, text.conventions_digest, review_requests, found),
            text.day,
            settings,
            found,
        )


def _find_text_reasons(
    rows: pa.Table, conventions_digest: str, review_requests: ReviewRequestsBySegment, found: _ReportTotals
) -> pa.Array:
    """Why each row should be looked at, or null: its problem, its language, or a rule broken that nobody confirmed."""
    problems, ids = rows["problem"].to_pylist(), rows["segment_id"].to_pylist()
    broken = rows["violations"].to_pylist() if "violations" in rows.column_names else [None] * len(problems)
    reasons: list[str | None] = []
    for at, (problem, sentence, rules) in enumerate(
        zip(problems, rows["sentence"].to_pylist(), broken, strict=True)
    ):
        names = sorted(set(rules)) if rules else []
        found.violations.update(names)
        if names and (asked := review_requests.get(ids[at])):
            text, annotated_at = rows["text"][at].as_py(), rows["annotated_at"][at].as_py()
            confirmed = find_confirmed_rules(asked, text, annotated_at, conventions_digest).intersection(names)
            found.confirmed.update(confirmed)
            names = [each for each in names if each not in confirmed]
        if problem is not None:
            reasons.append(None if problem == "unusable" else problem)
        elif detect_language(sentence) not in ("es", None):
            reasons.append("not Spanish")
        else:
            reasons.append(f"breaks a rule: {names[0]}" if names else None)
    return pa.array(reasons, pa.string())


def _add_seconds(rows: pa.Table, seconds: Mapping[str, Counter[Any]]) -> None:
    level = pc.cast(pc.floor(pc.divide(rows["loudness_dbfs"], LOUDNESS_STEP_DB)), pa.int64())
    keyed = {"speaker": pc.fill_null(rows["speaker"], UNKNOWN_SPEAKER), "loudness": level}
    for name, keys in keyed.items():
        table = pa.table({"key": keys, "duration_s": rows["duration_s"]})
        sums = table.group_by("key", use_threads=False).aggregate([("duration_s", "sum")])
        for key, total in zip(sums["key"].to_pylist(), sums["duration_s_sum"].to_pylist(), strict=True):
            seconds[name][key] += total


def _flag_rows(rows: pa.Table, reasons: Any, day: str, settings: QualitySettings, found: _ReportTotals) -> None:
    for row in rows.append_column("reason", reasons).filter(pc.is_valid(reasons)).to_pylist():
        reason = row["reason"]
        found.flagged_counts[reason] += 1
        newest = found.flagged.setdefault(reason, deque(maxlen=settings.flagged_segments_shown))
        newest.append(
            FlaggedSegment(
                segment_id=row["segment_id"],
                day=day,
                session_id=row["session_id"],
                file_name=row["file_name"],
                speaker=row["speaker"] or UNKNOWN_SPEAKER,
                duration_s=row["duration_s"],
                loudness_dbfs=row["loudness_dbfs"],
                text=row.get("text") or "",
                reason=reason,
            )
        )


def _select_newest_flagged(flagged: Mapping[str, Sequence[FlaggedSegment]], most: int) -> list[FlaggedSegment]:
    """`most` of them, the reasons in turn, newest first, no segment twice; sorted by reason to be read."""
    columns = [list(reversed(flagged[reason])) for reason in sorted(flagged)]
    in_turn = [each for row in zip_longest(*columns) for each in row if each is not None]
    by_id: dict[str, FlaggedSegment] = {}
    for each in in_turn:
        by_id.setdefault(each.segment_id, each)
    return sorted(islice(by_id.values(), most), key=lambda each: each.reason)


def _sum_hours(found: _ReportTotals, name: str) -> tuple[Hours, ...]:
    recorded, usable = found.recorded_s[name], found.usable_s[name]
    keys = sorted(recorded.keys() | usable.keys(), key=lambda key: (-recorded[key], key))
    return tuple(Hours(key, recorded[key] / 3600, usable[key] / 3600) for key in keys)


def _sum_hours_by_loudness(found: _ReportTotals) -> tuple[tuple[int, Hours], ...]:
    recorded, usable = found.recorded_s["loudness"], found.usable_s["loudness"]
    steps = recorded.keys() | usable.keys()
    if not steps:
        return ()
    return tuple(
        (
            step * LOUDNESS_STEP_DB,
            Hours(
                f"{step * LOUDNESS_STEP_DB} to {(step + 1) * LOUDNESS_STEP_DB} dBFS",
                recorded[step] / 3600,
                usable[step] / 3600,
            ),
        )
        for step in range(min(steps), max(steps) + 1)
    )


def _sum_hours_by_role(lake: Lake, snapshot: Snapshot) -> tuple[Hours, ...]:
    file = pq.ParquetFile(io.BytesIO(lake.get_bytes(snapshot.segments)))
    if "role" not in file.schema_arrow.names:
        return ()
    table = file.read(columns=["role", "duration_s"])
    table = table.set_column(0, "role", pc.fill_null(table["role"], "unknown"))
    sums = table.group_by("role", use_threads=False).aggregate([("duration_s", "sum")])
    pairs = zip(sums["role"].to_pylist(), sums["duration_s_sum"].to_pylist(), strict=True)
    return tuple(
        Hours(role, total / 3600, total / 3600)
        for role, total in sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
    )


def _thin_points(points: Sequence[VocabularyPoint]) -> tuple[VocabularyPoint, ...]:
    """At most some two hundred points, the last among them."""
    step = -(-len(points) // _MAX_VOCABULARY_POINTS) or 1
    return (VocabularyPoint(0, 0), *points[-1::-step][::-1]) if points else ()


def _attach_audio(lake: Lake, flagged: Sequence[FlaggedSegment], most_bytes: int) -> tuple[FlaggedSegment, ...]:
    """The same segments with their FLAC, in order, as long as `most_bytes` suffice."""
    sounds: dict[str, bytes] = {}
    for day in {each.day for each in flagged}:
        sounds.update(_read_audio(lake, day, {each.segment_id for each in flagged if each.day == day}))
    shown, left = [], most_bytes
    for each in flagged:
        flac = sounds.get(each.segment_id)
        if flac is not None and len(flac) <= left:
            left -= len(flac)
            shown.append(replace(each, flac=flac))
        else:
            shown.append(each)
    return tuple(shown)


def _read_audio(lake: Lake, day: str, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """The FLAC of the wanted segments of a day; opens the row groups that hold one, and no other."""
    recordings = load_day(lake, day)
    if recordings is None:
        return
    file = pq.ParquetFile(lake.fetch_path(recordings.parquet))
    for group in range(file.num_row_groups):
        ids = file.read_row_group(group, columns=["segment_id"])["segment_id"].to_pylist()
        if wanted.isdisjoint(ids):
            continue
        sounds = file.read_row_group(group, columns=["audio"])["audio"]
        for at, segment_id in enumerate(ids):
            if segment_id in wanted:
                yield segment_id, sounds[at].as_py()
