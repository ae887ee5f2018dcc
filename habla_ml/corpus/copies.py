"""Copied sessions: folders with the same sounds under several names, such as a backup that was restored.

Copies are one session wherever sessions are counted: in the groups of the splits and in the clusters of a bootstrap.
Whole sessions are compared, annotated or not, because people may have annotated other segments of each copy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from types import MappingProxyType
from typing import Final

import pyarrow as pa

from habla_ml.audio import SILENCE_DBFS
from habla_ml.lake import Lake
from habla_ml.lake.database import ScratchDatabase, open_scratch_database
from habla_ml.lake.shards import iterate_batches

_COPIED_SHARE: Final = 0.5
"""Two sessions are copies if they share this part of the sounds of the smaller one. A recording that was copied in the
middle, or partly deleted, has all its sounds in the other copy; a clip that was played twice makes no copy."""

_SOUND_SCHEMA: Final = pa.schema(
    [("session_id", pa.string()), ("audio_sha256", pa.string()), ("loudness_dbfs", pa.float64())]
)


def find_copied_sessions(
    lake: Lake, metadata: Iterable[str], sessions: Collection[str], database: ScratchDatabase | None = None
) -> list[list[str]]:
    """Return the groups of at least two of these sessions that are copies of each other, each sorted by name.

    `metadata` has the object ids of the days' segment metadata. Digital silence is left out: it is always the same sound.
    `database` holds the sounds meanwhile; None for one in the lake's work folder.
    """
    joined: dict[str, list[str]] = {}
    with open_scratch_database(lake.work_folder) if database is None else nullcontext(database) as opened:
        for one, other in _find_copied_pairs(opened, lake, metadata, sessions):
            group, added = joined.setdefault(one, [one]), joined.setdefault(other, [other])
            if group is not added:
                group += added
                joined.update(dict.fromkeys(added, group))
    once = {id(group): sorted(group) for group in joined.values()}
    return sorted(once.values())


def _find_copied_pairs(
    database: ScratchDatabase, lake: Lake, metadata: Iterable[str], sessions: Collection[str]
) -> list[tuple[str, str]]:
    """Return pairs of copied sessions that connect all copies.

    Only neighbours in the order of names are compared: a sound of 10,000 sessions gives 10,000 pairs, and the copies of a
    session are a chain.
    """
    database.load_columns(
        "CREATE TABLE wanted AS FROM batches", {"session_id": pa.array(sorted(sessions), pa.string())}
    )
    # Not a semi-join: DuckDB does not know how many rows a stream has, and would keep all of them in place of the sessions.
    database.load(
        """
        CREATE TABLE recorded AS SELECT md5_number(audio_sha256) AS sound, session_id
        FROM batches WHERE loudness_dbfs > $silence AND coalesce(session_id IN (FROM wanted), FALSE)
        """,
        _read_sounds(lake, metadata),
        _SOUND_SCHEMA,
        {"silence": SILENCE_DBFS},
    )
    database.run(
        """
        CREATE TABLE neighbours AS SELECT one, other, count(*) AS shared FROM (
            SELECT lag(session_id) OVER (PARTITION BY sound ORDER BY session_id) AS one, session_id AS other FROM (
                SELECT DISTINCT sound, session_id
                FROM recorded SEMI JOIN (SELECT sound FROM recorded GROUP BY sound HAVING count(*) > 1) USING (sound)))
        WHERE one IS NOT NULL GROUP BY one, other
        """
    )
    pairs = database.fetch_rows(
        """
        WITH sizes AS (SELECT session_id, count(*) AS sounds FROM (
            SELECT DISTINCT session_id, sound FROM recorded
            WHERE session_id IN (SELECT one FROM neighbours UNION SELECT other FROM neighbours)) GROUP BY session_id)
        SELECT one, other FROM neighbours
        JOIN sizes AS first ON first.session_id = one JOIN sizes AS second ON second.session_id = other
        WHERE shared >= $share * least(first.sounds, second.sounds)
        """,
        {"share": _COPIED_SHARE},
    )
    for table in ("wanted", "recorded", "neighbours"):
        database.run(f"DROP TABLE {table}")
    return [(str(one), str(other)) for one, other in pairs]


def _read_sounds(lake: Lake, metadata: Iterable[str]) -> Iterator[pa.RecordBatch]:
    for object_id in metadata:
        for batch in iterate_batches(lake, object_id, _SOUND_SCHEMA.names):
            yield batch.select(_SOUND_SCHEMA.names).cast(_SOUND_SCHEMA)


def find_names_of_copies(
    lake: Lake,
    metadata: Iterable[str],
    sessions: Collection[str],
    decided: Mapping[str, str] = MappingProxyType({}),
    database: ScratchDatabase | None = None,
) -> dict[str, str]:
    """Return copied session → the copy under whose name it is counted, for those of these sessions that are copies.

    `metadata` and `database` are as in `find_copied_sessions`. Copies for which `decided` has different values, such as
    splits, keep their names.
    """
    found: dict[str, str] = {}
    for group in find_copied_sessions(lake, metadata, sessions, database):
        main = next((name for name in group if name in decided), group[0])
        found |= {name: main for name in group if name != main and decided.get(name) in (None, decided.get(main))}
    return found


def load_names_of_copies(
    lake: Lake, database: ScratchDatabase, metadata: Iterable[str], sessions: Collection[str]
) -> None:
    """Make the table `copies` with the columns `session_id` and `name`; the arguments are as in `find_names_of_copies`."""
    names = find_names_of_copies(lake, metadata, sessions, database=database)
    columns = {"session_id": pa.array(names.keys(), pa.string()), "name": pa.array(names.values(), pa.string())}
    database.load_columns("CREATE TABLE copies AS FROM batches", columns)


def rename_sessions(rows: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """Return the rows with the sessions in `names` under their other name."""
    if not names:
        return rows
    sessions = [names.get(each, each) for each in rows["session_id"].to_pylist()]
    return rows.set_column(rows.column_names.index("session_id"), "session_id", pa.array(sessions, pa.string()))


def rank_copies(source: str, keys: Sequence[str], annotation: str = "position") -> str:
    """Return a query for the position of each row, the `first` row with its `keys`, and the `newest` annotation of these.

    Args:
        source: Table or query with `position`, the keys, `annotated_at` and `segment_id`.
        keys: Columns that are equal for copies.
        annotation: Column with the position of the row that has the annotation.
    """
    copies = f"PARTITION BY {', '.join(keys)}"
    newest_first = "annotated_at DESC NULLS FIRST, segment_id DESC, position DESC"
    return f"""
        SELECT position, min(position) OVER ({copies}) AS first,
            first_value({annotation}) OVER ({copies} ORDER BY {newest_first}) AS newest FROM {source}
    """  # noqa: S608 (every part is a constant of this package)
