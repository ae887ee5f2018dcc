"""Search what Dagster keeps, in files, SQLite or PostgreSQL, for the words of the corpus."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from habla_ml.lake import Lake
from habla_ml.lake.table import read_parquet

SHORTEST_CHARS: Final = 16
"""Shorter texts occur by chance."""

SPOKEN_WORD: Final = "zarzaparrilla"
"""A word that tests insert into every text, so that a part of a text is found too."""

StoredBytes = tuple[str, bytes]
"""Where bytes are stored, and the bytes."""


def insert_spoken_word(session: Path) -> None:
    """Append `SPOKEN_WORD` to every text of a recorded session."""
    for path in session.glob("*.json"):
        body = json.loads(path.read_text("utf-8"))
        for entry in body.get("segments", ()) if isinstance(body, dict) else ():
            for key in ("raw_transcript", "transcript", "corrected_transcript"):
                if entry.get(key):
                    entry[key] = f"{entry[key]} {SPOKEN_WORD}."
        path.write_text(json.dumps(body), "utf-8")


def collect_spoken_texts(lake: Lake) -> set[str]:
    """Return the human and machine texts of recordings, events and hypotheses."""
    texts = set()
    for name in [
        *lake.list_pointers("recordings/"),
        *lake.list_pointers("annotations/"),
        *lake.list_pointers("hypotheses/"),
    ]:
        pointer = lake.read_pointer(name)
        assert pointer is not None
        table = read_parquet(lake.fetch_path(pointer.value.get("facts") or next(_list_tables(pointer.value))))
        for column in {"machine_text", "text", "seen_text"} & set(table.column_names):
            texts.update(table[column].to_pylist())
    return {each for each in texts if each and len(each) >= SHORTEST_CHARS}


def _list_tables(value: dict[str, str]) -> Iterator[str]:
    yield from (value[name] for name in ("parquet", "hypotheses") if name in value)


def find_texts(stored: Iterable[StoredBytes], texts: Iterable[str]) -> list[str]:
    """Return where any of the texts occurs, in UTF-8 or encoded as JSON once or twice."""
    forms = {form for text in texts for form in _encode_forms(text)}
    return [f"{form!r} in {where}" for where, data in stored for form in forms if form in data]


def _encode_forms(text: str) -> Iterator[bytes]:
    once = json.dumps(text)[1:-1]
    yield from (text.encode(), once.encode(), json.dumps(once)[1:-1].encode())


def read_dagster_home(home: Path) -> Iterator[StoredBytes]:
    """Yield every file of a `DAGSTER_HOME` and every row of its SQLite databases, decompressed where needed."""
    for path in sorted(each for each in home.rglob("*") if each.is_file()):
        data = path.read_bytes()
        yield str(path), data
        if data.startswith(b"SQLite format 3\0"):
            yield from _read_sqlite(path)


def read_postgres(connection: psycopg.Connection) -> Iterator[StoredBytes]:
    """Yield every row of a PostgreSQL database's own tables, decompressed where needed."""
    tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    for (table,) in tables:
        for row in connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))):
            yield from _unpack_row(table, row)


def _read_sqlite(database: Path) -> Iterator[StoredBytes]:
    connection = sqlite3.connect(database)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        for row in connection.execute(f'SELECT * FROM "{table}"'):  # noqa: S608  the database's own name
            yield from _unpack_row(f"{database.name} {table}", row)
    connection.close()


def _unpack_row(where: str, row: Iterable[object]) -> Iterator[StoredBytes]:
    values = [each if isinstance(each, bytes) else str(each).encode() for each in row]
    yield where, b"\0".join(values)
    for each in values:
        if each[:1] == b"x":
            try:
                yield f"{where}, unpacked", zlib.decompress(each)
            except zlib.error:
                continue
