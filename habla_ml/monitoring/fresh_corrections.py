"""Corrections since a release of segments outside the model's snapshot: its error rate is measured on these only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.annotation.review_queue import CHOSEN_SCHEMA, iterate_chosen_segments
from habla_ml.corpus.build import CorpusDay, iterate_corpus_batches, list_corpus_days
from habla_ml.corpus.copies import load_names_of_copies, rank_copies
from habla_ml.corpus.split_ledger import find_sealed_sessions
from habla_ml.lake import Lake
from habla_ml.lake.database import ScratchDatabase, open_scratch_database
from habla_ml.lake.shards import iterate_batches
from habla_ml.monitoring.weeks import week_of_moment

_CORRECTION_COLUMNS: Final = ("segment_id", "session_id", "day", "sentence", "audio_sha256", "annotated_at")
_SCHEMA: Final = pa.schema(
    [
        *((name, pa.string()) for name in _CORRECTION_COLUMNS[:-1]),
        ("annotated_at", pa.timestamp("us", tz="UTC")),
        *((name, pa.string()) for name in ("conventions", "week")),
        ("position", pa.int64()),
    ]
)
_TRAINED_SCHEMA: Final = pa.schema([(name, pa.string()) for name in ("segment_id", "audio_sha256")])
_NOT_TRAINED: Final = """
CREATE TABLE fresh AS FROM corrected
ANTI JOIN trained USING (segment_id) ANTI JOIN (SELECT audio_sha256 FROM trained) USING (audio_sha256)
"""
_FIND: Final = f"""
CREATE TABLE found AS
SELECT first.segment_id, coalesce(name, first.session_id) AS session_id, first.day, newest.sentence, first.audio_sha256,
    newest.conventions, first.audio_sha256 IN (FROM uncertain) AS is_uncertain, newest.week
FROM ({rank_copies("fresh", ("audio_sha256",))}) AS ranked
JOIN fresh AS first ON first.position = ranked.position AND ranked.position = ranked.first
JOIN fresh AS newest ON newest.position = ranked.newest
LEFT JOIN copies ON copies.session_id = first.session_id
"""  # noqa: S608 (constants)


@dataclass(frozen=True)
class FreshCorrection:
    """A segment with its corrected text."""

    segment_id: str
    session_id: str
    day: str
    """Of the recording."""
    sentence: str
    """Under the conventions of its day's text."""
    audio_sha256: str
    conventions: str
    is_uncertain: bool
    """Whether a review queue chose it as difficult."""


class FreshCorrections(Mapping[str, tuple[FreshCorrection, ...]]):
    """The corrections by week, each week sorted by segment id. A week is read when it is asked for."""

    def __init__(self, database: ScratchDatabase) -> None:
        """Take a database with the table `found`."""
        self._database = database
        rows = database.fetch_rows("SELECT DISTINCT week FROM found ORDER BY week")
        self._weeks = {week: None for (week,) in rows}

    def __getitem__(self, week: str) -> tuple[FreshCorrection, ...]:
        self._weeks[week]  # an unknown week is a KeyError
        columns = ", ".join(each.name for each in fields(FreshCorrection))
        sql = f"SELECT {columns} FROM found WHERE week = ? ORDER BY segment_id"  # noqa: S608 (names of fields)
        return tuple(FreshCorrection(*row) for row in self._database.fetch_rows(sql, (week,)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._weeks)

    def __len__(self) -> int:
        return len(self._weeks)


@contextmanager
def open_fresh_corrections(lake: Lake, trained: str, since: datetime, zone: ZoneInfo) -> Iterator[FreshCorrections]:
    """Yield the corrected or confirmed segments by week.

    Segments and audio of the snapshot, sealed sessions, annotations before `since` and texts that are not usable
    references are left out. A sound with several names counts once, with its newest text, and copies of a session have
    one name.

    Args:
        lake: The lake of the corpus.
        trained: Object id of the table of the snapshot's segments.
        since: Time of the release.
        zone: Defines days and weeks.
    """
    days = {day.day: day for day in list_corpus_days(lake) if day.counts["usable"]}
    with open_scratch_database(lake.work_folder) as database:
        rows = _iterate_corrections(lake, days.values(), since, zone)
        database.load("CREATE TABLE corrected AS FROM batches", rows, _SCHEMA)
        sql = """CREATE TABLE trained AS FROM batches WHERE segment_id IN (SELECT segment_id FROM corrected)
            OR audio_sha256 IN (SELECT audio_sha256 FROM corrected)"""
        database.load(sql, iterate_batches(lake, trained, _TRAINED_SCHEMA.names), _TRAINED_SCHEMA)
        database.run(_NOT_TRAINED)
        sql = "CREATE TABLE uncertain AS SELECT DISTINCT audio_sha256 FROM fresh SEMI JOIN batches USING (segment_id)"
        database.load(sql, iterate_chosen_segments(lake), CHOSEN_SCHEMA)
        _find_copies(lake, database, days)
        database.run(_FIND)
        yield FreshCorrections(database)


def _find_copies(lake: Lake, database: ScratchDatabase, days: Mapping[str, CorpusDay]) -> None:
    """Make the table `copies`, session → the name under which it counts."""
    used = [day for (day,) in database.fetch_rows("SELECT DISTINCT day FROM fresh ORDER BY day")]
    sessions = [session for (session,) in database.fetch_rows("SELECT DISTINCT session_id FROM fresh")]
    load_names_of_copies(lake, database, [days[day].metadata for day in used], sessions)


def _iterate_corrections(
    lake: Lake, days: Iterable[CorpusDay], since: datetime, zone: ZoneInfo
) -> Iterator[pa.RecordBatch]:
    """Yield the usable texts since the release, apart from sealed sessions, as `_SCHEMA`."""
    sealed, position = pa.array(sorted(find_sealed_sessions(lake)), pa.string()), 0
    released = pa.scalar(since.astimezone(UTC), _SCHEMA.field("annotated_at").type)
    for day in days:
        for batch in iterate_corpus_batches(lake, day, [*_CORRECTION_COLUMNS, "problem"]):
            is_fresh = pc.and_(pc.is_null(batch["problem"]), pc.greater_equal(batch["annotated_at"], released))
            rows = batch.filter(pc.and_not(is_fresh, pc.is_in(batch["session_id"], sealed)))
            if not rows.num_rows:
                continue
            weeks = [week_of_moment(each, zone) for each in rows["annotated_at"].to_pylist()]
            columns: dict[str, Any] = {name: rows[name] for name in _CORRECTION_COLUMNS}
            columns |= {"conventions": pa.repeat(day.conventions_digest, rows.num_rows), "week": pa.array(weeks)}
            columns["position"] = pa.array(range(position, position + rows.num_rows), pa.int64())
            position += rows.num_rows
            yield pa.record_batch(
                [columns[name].cast(_SCHEMA.field(name).type) for name in _SCHEMA.names], schema=_SCHEMA
            )
