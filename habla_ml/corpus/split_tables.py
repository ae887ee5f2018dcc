"""The segments of a snapshot while its splits are decided, as tables of a database (`lake.database`).

`segments` has the usable segments in the order of the snapshot, each with its `position`, and is written once. What is
decided later is in smaller tables: `sessions` and `session_splits`, `dropped` positions, and `newest`, the position whose
annotation counts for a copied sound. The view `named` has the segments that are left, `kept` also their splits.

Sounds and sentences are compared by a digest of 128 bits, so that 100 million of them stay small.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.annotation.review_queue import CHOSEN_SCHEMA
from habla_ml.corpus.build import CORPUS_SCHEMA, CorpusDay, iterate_corpus_batches
from habla_ml.corpus.copies import rank_copies
from habla_ml.corpus.near_duplicates import DROPPED_SCHEMA, Side
from habla_ml.corpus.overlap import to_plain_text
from habla_ml.corpus.snapshot import SNAPSHOT_SCHEMA, SPLITS, Split
from habla_ml.corpus.speakers import EnrolledSpeakers
from habla_ml.corpus.split_ledger import PINNED_SCHEMA
from habla_ml.corpus.split_totals import HoursByName, select_splits
from habla_ml.lake import Lake
from habla_ml.lake.database import ScratchDatabase
from habla_ml.lake.shards import count_rows, iterate_batches

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CORPUS_COLUMNS: Final = (
    *(name for name in SNAPSHOT_SCHEMA.names if name in CORPUS_SCHEMA.names),
    "annotated_at",
)
_ORDER: Final = ("day", "session_id", "number", "file_name", "segment_id")
_KEY_COLUMNS: Final = (*_ORDER, "problem")
_KEY_SCHEMA: Final = pa.schema(
    [*(CORPUS_SCHEMA.field(name).with_nullable(True) for name in _KEY_COLUMNS), ("row", pa.int64())]
)
_BATCH_SCHEMA: Final = pa.schema(
    [
        *(CORPUS_SCHEMA.field(name).with_nullable(True) for name in _CORPUS_COLUMNS),
        *(("plain_text", pa.string()), ("position", pa.int64())),
    ]
)
_EARLIER_COLUMNS: Final = ("segment_id", "audio_sha256", "split")
_EARLIER_SCHEMA: Final = pa.schema([*((name, pa.string()) for name in _EARLIER_COLUMNS), ("position", pa.int64())])
_SLICE_ROWS: Final = 131_072
_MOST_SLICES: Final = 64
"""Of a query that reads the names of all sessions for each slice."""
_LOADED_TOGETHER: Final = 100_000
"""Usable segments of small days that one statement sorts."""

_TABLES: Final = f"""
CREATE TYPE split AS ENUM ({", ".join(f"'{split}'" for split in SPLITS)});
CREATE TABLE segments (
    position BIGINT, segment_id VARCHAR, day VARCHAR, session_id VARCHAR, file_name VARCHAR, number BIGINT,
    speaker VARCHAR, sentence VARCHAR, status VARCHAR, duration_s DOUBLE, loudness_dbfs DOUBLE, audio_sha256 VARCHAR,
    is_blind BOOLEAN, annotated_at TIMESTAMPTZ, sound UHUGEINT, sentence_digest UHUGEINT, is_chosen BOOLEAN);
CREATE TABLE chosen (segment_id VARCHAR);
CREATE TABLE sessions (session_id VARCHAR, name VARCHAR);
CREATE TABLE session_splits (name VARCHAR, split split);
CREATE TABLE dropped (position BIGINT);
CREATE TABLE newest (position BIGINT, newest BIGINT);
CREATE TABLE earlier (position BIGINT, segment UHUGEINT, audio_sha256 VARCHAR, sound UHUGEINT, split split);
CREATE TABLE pinned (audio_sha256 VARCHAR, sound UHUGEINT, split split);
CREATE TABLE people (name VARCHAR, speaker VARCHAR, person VARCHAR, role VARCHAR);
"""
_SORT_ROWS: Final = f'SELECT "row" FROM batches WHERE problem IS NULL ORDER BY {", ".join(_ORDER)}'  # noqa: S608 (columns)
_LOAD_SEGMENTS: Final = """
INSERT INTO segments BY NAME
SELECT * EXCLUDE (plain_text), md5_number(audio_sha256) AS sound, md5_number(plain_text) AS sentence_digest,
    segment_id IN (FROM chosen) AS is_chosen
FROM batches
"""
_VIEWS: Final = """
CREATE TABLE chosen_sounds AS SELECT DISTINCT sound FROM segments WHERE is_chosen;
CREATE TABLE repeated AS SELECT sound FROM segments GROUP BY sound HAVING count(*) > 1;
CREATE VIEW named AS SELECT segments.*, name, sound IN (FROM chosen_sounds) AS has_chosen_sound
FROM segments JOIN sessions USING (session_id) ANTI JOIN dropped USING (position);
CREATE VIEW kept AS SELECT named.*, split FROM named JOIN session_splits USING (name);
"""
_LEFT_COPIES: Final = """
(SELECT copies.position, sound, name, annotations.annotated_at, copies.segment_id,
    coalesce(newest, copies.position) AS annotation
FROM named AS copies SEMI JOIN repeated USING (sound) LEFT JOIN newest USING (position)
JOIN segments AS annotations ON annotations.position = coalesce(newest, copies.position))
"""
# The earlier snapshot comes first, so its positions are made negative.
_PIN: Final = """
CREATE TABLE newly_pinned AS SELECT sound, arg_min(split, position) AS split FROM (
    SELECT sound, split, position, TRUE AS is_present FROM kept
    UNION ALL SELECT sound, split, position - (SELECT count(*) FROM earlier), FALSE FROM earlier)
GROUP BY sound HAVING min(split) <> max(split) OR NOT bool_or(is_present);
INSERT INTO pinned SELECT DISTINCT audio_sha256, sound, new.split
FROM newly_pinned AS new ANTI JOIN pinned USING (sound) JOIN (
    SELECT audio_sha256, sound FROM earlier
    UNION ALL SELECT audio_sha256, sound FROM segments SEMI JOIN repeated USING (sound)) USING (sound);
"""
_FINISH: Final = """
CREATE TABLE annotations AS SELECT newest.position, sentence, status, is_blind, sentence_digest
FROM newest JOIN segments ON segments.position = newest.newest;
CREATE TABLE final AS SELECT kept.position, name, split, coalesce(person, kept.speaker) AS speaker, person,
    coalesce(role, '') AS role, coalesce(annotations.sentence_digest, kept.sentence_digest) AS sentence_digest
FROM kept LEFT JOIN people USING (name, speaker) LEFT JOIN annotations USING (position);
CREATE TABLE trained_people AS SELECT DISTINCT person FROM final WHERE split = 'train' AND person IS NOT NULL;
CREATE TABLE with_seen_sentence AS
WITH held_out AS (SELECT DISTINCT sentence_digest FROM final WHERE split <> 'train'),
    trained AS (SELECT DISTINCT sentence_digest FROM final SEMI JOIN held_out USING (sentence_digest) WHERE split = 'train')
SELECT position FROM final SEMI JOIN trained USING (sentence_digest) WHERE split <> 'train';
"""
_SELECT_ROWS: Final = """
WITH positions AS (SELECT * FROM final WHERE position BETWEEN $first AND $last),
    stored AS (SELECT * FROM segments WHERE position BETWEEN $first AND $last),
    changed AS (SELECT *, TRUE AS is_changed FROM annotations WHERE position BETWEEN $first AND $last),
    seen AS (SELECT *, TRUE AS has_seen_sentence FROM with_seen_sentence WHERE position BETWEEN $first AND $last)
SELECT segment_id, day, name AS session_id, file_name, number, positions.speaker,
    coalesce(changed.sentence, stored.sentence) AS sentence, coalesce(changed.status, stored.status) AS status,
    duration_s, loudness_dbfs, audio_sha256,
    CASE WHEN is_changed THEN changed.is_blind ELSE stored.is_blind END AS is_blind, split::VARCHAR AS split, role,
    CASE WHEN split <> 'train' AND person IS NOT NULL THEN person IN (FROM trained_people) END AS is_seen_speaker,
    CASE WHEN split <> 'train' THEN has_seen_sentence IS NOT NULL END AS is_seen_sentence
FROM positions JOIN stored USING (position) LEFT JOIN changed USING (position) LEFT JOIN seen USING (position)
ORDER BY position
"""
_SOUNDS_OF_RANGE: Final = """
(SELECT position, day, audio_sha256 FROM segments WHERE position BETWEEN $first AND $last)
JOIN (FROM sides WHERE position BETWEEN $first AND $last) USING (position)
"""
_COUNT_CHANGES: Final = """
WITH present AS (SELECT md5_number(segment_id) AS segment, split FROM final JOIN segments USING (position))
SELECT split::VARCHAR, 'came', count(*) FROM present ANTI JOIN earlier USING (segment, split) GROUP BY split
UNION ALL
SELECT split::VARCHAR, 'left', count(*) FROM earlier ANTI JOIN present USING (segment, split) GROUP BY split
"""


class SplitTables:
    """The tables of one snapshot; its methods are called in their order."""

    def __init__(self, database: ScratchDatabase) -> None:
        """Create the tables in an empty database."""
        self.database = database
        self._n_segments = 0
        self._days: dict[str, tuple[int, int]] = {}
        """Day → its first and last position."""
        database.run(_TABLES)

    def load_segments(self, lake: Lake, days: Iterable[CorpusDay], chosen: Iterable[pa.RecordBatch]) -> int:
        """Load the usable segments of the days, sorted by day, and return their number.

        `chosen` has the ids of the segments that a review queue selected as uncertain.
        """
        self.database.load("INSERT INTO chosen FROM batches", chosen, CHOSEN_SCHEMA)
        for group in _group_small_days(days):
            positions = self._find_positions(lake, group)
            batches = _iterate_usable(_iterate_rows(lake, group, _CORPUS_COLUMNS), positions)
            self._n_segments += self.database.load(_LOAD_SEGMENTS, batches, _BATCH_SCHEMA)
        self.database.run(_VIEWS)
        sql = "SELECT day, min(position), max(position) FROM segments GROUP BY day ORDER BY min(position)"
        self._days = {day: (first, last) for day, first, last in self.database.fetch_rows(sql)}
        return self._n_segments

    def find_sessions(self, *, only_selected: bool = False) -> list[str]:
        """Return the sessions, or those with a sound of a segment that a review queue selected as uncertain."""
        where = "WHERE sound IN (FROM chosen_sounds)" if only_selected else ""
        rows = self.database.fetch_rows(f"SELECT DISTINCT session_id FROM segments {where} ORDER BY session_id")  # noqa: S608
        return [session for (session,) in rows]

    def merge_copied_sessions(self, copied: Mapping[str, str]) -> None:
        """Give copied sessions the names in `copied`, and keep the first segment of each sound of a session."""
        sessions = self.find_sessions()
        names = [copied.get(each, each) for each in sessions]
        columns = {"session_id": pa.array(sessions, pa.string()), "name": pa.array(names, pa.string())}
        self.database.load_columns("INSERT INTO sessions FROM batches", columns)
        self._keep_newest(("sound", "name"))

    def iterate_speakers(self) -> Iterator[tuple[str, str]]:
        """Yield each session and label, sorted."""
        for batch in self.database.iterate_batches("SELECT DISTINCT name, speaker FROM named ORDER BY name, speaker"):
            yield from zip(batch["name"].to_pylist(), batch["speaker"].to_pylist(), strict=True)

    def sum_hours(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return session → hours, and session → hours without the sounds that a review queue chose as uncertain."""
        usable, eligible = HoursByName(), HoursByName()
        sql = """SELECT name AS session_id, duration_s, has_chosen_sound FROM named
            WHERE position BETWEEN $first AND $last ORDER BY position"""
        for rows in self._iterate_slices(sql, -(-self._n_segments // _MOST_SLICES)):
            usable.add(rows)
            eligible.add(rows.filter(pc.invert(rows["has_chosen_sound"])))
        return usable.compute(), eligible.compute()

    def set_splits(self, splits: Mapping[str, Split]) -> None:
        """Set the split of each session."""
        columns = {"name": pa.array(splits.keys(), pa.string()), "split": pa.array(splits.values(), pa.string())}
        self.database.load_columns("INSERT INTO session_splits FROM batches", columns)

    def exclude_selected(self) -> dict[Split, int]:
        """Drop held-out sounds that a review queue selected as uncertain; return the number dropped from each split."""
        return self._drop("SELECT position, split FROM kept WHERE has_chosen_sound AND split <> 'train'")

    def load_earlier(self, lake: Lake, table: str) -> None:
        """Load the segments of the previous snapshot, whose table is `table`."""
        sql = """INSERT INTO earlier SELECT position, md5_number(segment_id), audio_sha256, md5_number(audio_sha256), split
            FROM batches"""
        rows = iterate_batches(lake, table, _EARLIER_COLUMNS)
        self.database.load(sql, _number_rows(rows, _EARLIER_SCHEMA), _EARLIER_SCHEMA)

    def pin_audio(self, known: Iterable[pa.RecordBatch]) -> None:
        """Pin the sounds of two splits, and those that left the corpus; `known` has those that were pinned before.

        Each belongs to its split in the earlier snapshot, otherwise to the split of its first segment.
        """
        sql = "INSERT INTO pinned SELECT audio_sha256, md5_number(audio_sha256), split FROM batches"
        self.database.load(sql, known, PINNED_SCHEMA)
        self.database.run(_PIN)

    def count_pinned(self) -> int:
        """Return the number of pinned sounds."""
        ((count,),) = self.database.fetch_rows("SELECT count(*) FROM pinned")
        return int(count)

    def iterate_pinned(self) -> Iterator[pa.Table]:
        """Yield the pinned sounds and their splits, sorted by sound."""
        sql = "SELECT audio_sha256, split::VARCHAR AS split FROM pinned ORDER BY audio_sha256"
        for batch in self.database.iterate_batches(sql):
            yield pa.Table.from_batches([batch]).cast(PINNED_SCHEMA)

    def drop_copies(self) -> None:
        """Drop the sounds that are pinned to another split, and keep the first segment of each sound."""
        self._drop("SELECT position, kept.split FROM kept JOIN pinned USING (sound) WHERE kept.split <> pinned.split")
        self._keep_newest(("sound",))

    def iterate_sounds(self) -> Iterator[tuple[str, Side, list[str]]]:
        """Yield the sounds of each day and side, sorted."""
        # The joins of `kept` cost as much for one day as for all days.
        self.database.run("CREATE TABLE sides AS SELECT position, split = 'train' AS is_train FROM kept")
        sql = f"SELECT day, is_train, audio_sha256 FROM {_SOUNDS_OF_RANGE} ORDER BY day, is_train, audio_sha256"  # noqa: S608
        for first, last in self._find_ranges_of_days():
            rows = self.database.fetch_table(sql, {"first": first, "last": last})
            groups = rows.group_by(["day", "is_train"], use_threads=False).aggregate([([], "count_all")])
            start = 0
            for each in groups.sort_by([("day", "ascending"), ("is_train", "ascending")]).to_pylist():
                sounds = rows["audio_sha256"].slice(start, each["count_all"]).to_pylist()
                yield each["day"], "train" if each["is_train"] else "held_out", sounds
                start += each["count_all"]

    def find_sounds(self, day: str, side: Side) -> list[str]:
        """Return the sounds of a day and side, sorted, after `iterate_sounds`."""
        sql = f"SELECT audio_sha256 FROM {_SOUNDS_OF_RANGE} WHERE is_train = $is_train ORDER BY audio_sha256"  # noqa: S608
        first, last = self._days[day]
        rows = self.database.fetch_rows(sql, {"first": first, "last": last, "is_train": side == "train"})
        return [sound for (sound,) in rows]

    def find_earlier_splits(self, sounds: Collection[str]) -> dict[str, Split]:
        """Return sound → its split in the previous snapshot, for those of these sounds that it has."""
        columns = {"audio_sha256": pa.array(sounds, pa.string())}
        self.database.load_columns("CREATE OR REPLACE TEMP TABLE looked_up AS SELECT DISTINCT * FROM batches", columns)
        sql = "SELECT audio_sha256, split::VARCHAR FROM earlier SEMI JOIN looked_up USING (audio_sha256) ORDER BY position"
        return dict(self.database.fetch_rows(sql))

    def drop_near_duplicates(self, dropped: Iterable[pa.RecordBatch]) -> dict[Split, int]:
        """Drop the near-duplicates, rows of `DROPPED_SCHEMA`; return the number dropped from each split."""
        sql = """CREATE TABLE near_duplicates AS
            SELECT md5_number(audio_sha256) AS sound, side = 'train' AS is_train FROM batches"""
        self.database.load(sql, dropped, DROPPED_SCHEMA)
        return self._drop(
            "SELECT position, split FROM kept JOIN near_duplicates USING (sound) WHERE (split = 'train') = is_train"
        )

    def finish(self, speakers: EnrolledSpeakers) -> None:
        """Name the enrolled speakers, and find the speakers and sentences of held-out segments that train has too."""
        columns = {
            "name": [session for session, _ in speakers],
            "speaker": [label for _, label in speakers],
            "person": [person.name for person in speakers.values()],
            "role": [person.role for person in speakers.values()],
        }
        arrays = {name: pa.array(values, pa.string()) for name, values in columns.items()}
        self.database.load_columns("INSERT INTO people FROM batches", arrays)
        self.database.run(_FINISH)

    def iterate_rows(self) -> Iterator[pa.Table]:
        """Yield the rows of the snapshot in their order."""
        for rows in self._iterate_slices(_SELECT_ROWS):
            yield rows.select(SNAPSHOT_SCHEMA.names).cast(SNAPSHOT_SCHEMA)

    def count_changes(self) -> dict[tuple[str, str], int]:
        """Return the segments of each split that `came` and that `left` since the previous snapshot, where there are some."""
        return {(split, change): count for split, change, count in self.database.fetch_rows(_COUNT_CHANGES)}

    def _find_positions(self, lake: Lake, days: Collection[CorpusDay]) -> NDArray[np.int64]:
        """Return the position of each row of the days, -1 for an unusable one."""
        keys = _number_rows(_iterate_rows(lake, days, _KEY_COLUMNS), _KEY_SCHEMA)
        order = self.database.query(_SORT_ROWS, keys, _KEY_SCHEMA)["row"].to_numpy()
        positions = np.full(sum(count_rows(lake, day.parquet) for day in days), -1)
        positions[order] = np.arange(self._n_segments, self._n_segments + len(order))
        return positions

    def _keep_newest(self, keys: tuple[str, ...]) -> None:
        self.database.run(
            f"""
            CREATE OR REPLACE TABLE ranked AS {rank_copies(_LEFT_COPIES, keys, "annotation")};
            INSERT INTO dropped SELECT position FROM ranked WHERE position <> first;
            CREATE OR REPLACE TABLE newest AS
            SELECT position, newest FROM ranked WHERE position = first AND position <> newest;
            """  # noqa: S608 (constants)
        )

    def _drop(self, sql: str) -> dict[Split, int]:
        """Drop the positions of a query; return the number of each split."""
        self.database.run(f"CREATE OR REPLACE TEMP TABLE left_out AS {sql}")
        self.database.run("INSERT INTO dropped SELECT position FROM left_out")
        counts = self.database.fetch_rows("SELECT split::VARCHAR, count(*) FROM left_out GROUP BY split")
        return select_splits(dict(counts))

    def _iterate_slices(self, sql: str, rows: int = 0) -> Iterator[pa.Table]:
        """Yield the results of a query for each range of at least `rows` positions, `$first` to `$last`."""
        step = max(rows, _SLICE_ROWS)
        for first in range(0, self._n_segments, step):
            yield self.database.fetch_table(sql, {"first": first, "last": first + step - 1})

    def _find_ranges_of_days(self) -> Iterator[tuple[int, int]]:
        """Yield first and last position of groups of days."""
        start = 0
        for _, last in self._days.values():
            if last - start >= _SLICE_ROWS or last == self._n_segments - 1:
                yield start, last
                start = last + 1


def _group_small_days(days: Iterable[CorpusDay]) -> Iterator[list[CorpusDay]]:
    """Yield large days alone and small days together."""
    waiting: list[CorpusDay] = []
    n_waiting = 0
    for day in days:
        waiting.append(day)
        n_waiting += day.counts["usable"]
        if n_waiting >= _LOADED_TOGETHER:
            yield waiting
            waiting, n_waiting = [], 0
    if waiting:
        yield waiting


def _iterate_rows(lake: Lake, days: Iterable[CorpusDay], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for day in days:
        yield from iterate_corpus_batches(lake, day, columns)


def _iterate_usable(batches: Iterable[pa.RecordBatch], positions: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
    """Yield the rows that have a position, with it and with their plain text."""
    first = 0
    for batch in batches:
        part = positions[first : first + batch.num_rows]
        first += batch.num_rows
        usable = batch.filter(pa.array(part >= 0))
        columns: dict[str, Any] = dict(zip(usable.schema.names, usable.columns, strict=True))
        columns |= {"plain_text": to_plain_text(usable["sentence"]), "position": pa.array(part[part >= 0])}
        yield pa.record_batch([columns[name] for name in _BATCH_SCHEMA.names], schema=_BATCH_SCHEMA)


def _number_rows(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the rows with their number as the last column of the schema."""
    first = 0
    for batch in batches:
        columns = [batch[field.name].cast(field.type) for field in list(schema)[:-1]]
        numbers = pa.array(np.arange(first, first + batch.num_rows))
        yield pa.record_batch([*columns, numbers], schema=schema)
        first += batch.num_rows
