"""The objects of a lake in a file on disk, since their ids would fill the memory: 1 million take 0.2 GB as Python texts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from habla_ml.scratch import make_scratch_folder

_CACHE_KIB: Final = 32 << 10
_SCHEMA: Final = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -{_CACHE_KIB};
CREATE TABLE objects (id BLOB PRIMARY KEY, size_bytes INTEGER NOT NULL, pointer INTEGER) WITHOUT ROWID;
CREATE TABLE faulty (id BLOB PRIMARY KEY) WITHOUT ROWID;
"""


class IndexedObject(NamedTuple):
    """An object of a listing."""

    sha256: str
    size_bytes: int


class ObjectIndex:
    """Id and size of every object, the pointer that first led to it, and the ids of faulty objects."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use an empty database."""
        self._database = connection
        self._pointers: list[str] = []
        connection.executescript(_SCHEMA)
        connection.execute("BEGIN")  # and never ended: the file is removed, and a transaction a row takes longer

    def add(self, objects: Iterable[IndexedObject]) -> None:
        """Add objects; an id counts once."""
        rows = ((bytes.fromhex(each.sha256), each.size_bytes) for each in objects)
        self._database.executemany("INSERT OR IGNORE INTO objects (id, size_bytes) VALUES (?, ?)", rows)

    def find_size_bytes(self, sha256: str) -> int | None:
        """Return the size of an object, or None if it is not in the index."""
        row = self._find("SELECT size_bytes FROM objects WHERE id = ?", sha256)
        return None if row is None else row[0]

    def reach(self, sha256: str, pointer: str) -> bool:
        """Record that a pointer leads to an object; return False if the object is unknown or reached already."""
        if not self._pointers or self._pointers[-1] != pointer:
            self._pointers.append(pointer)
        update = "UPDATE objects SET pointer = ? WHERE id = ? AND pointer IS NULL"
        return self._database.execute(update, (len(self._pointers) - 1, bytes.fromhex(sha256))).rowcount == 1

    def find_pointer(self, sha256: str) -> str | None:
        """Return the first pointer that leads to an object, or None."""
        row = self._find("SELECT pointer FROM objects WHERE id = ? AND pointer IS NOT NULL", sha256)
        return None if row is None else self._pointers[row[0]]

    def list_objects(self) -> Iterator[IndexedObject]:
        """Yield all objects, sorted by id."""
        yield from self._list("SELECT id, size_bytes FROM objects ORDER BY id")

    def list_reached(self) -> Iterator[IndexedObject]:
        """Yield the objects that a pointer leads to, sorted by id."""
        yield from self._list("SELECT id, size_bytes FROM objects WHERE pointer IS NOT NULL ORDER BY id")

    def sum_objects(self) -> tuple[int, int]:
        """Return number and bytes of all objects."""
        return self._sum("1")

    def sum_reached(self) -> tuple[int, int]:
        """Return number and bytes of the objects that a pointer leads to."""
        return self._sum("pointer IS NOT NULL")

    def sum_unreached(self) -> tuple[int, int]:
        """Return number and bytes of the objects that no pointer leads to."""
        return self._sum("pointer IS NULL")

    def add_faulty(self, sha256: str) -> None:
        """Record that an object is missing or damaged."""
        self._database.execute("INSERT OR IGNORE INTO faulty VALUES (?)", (bytes.fromhex(sha256),))

    def is_faulty(self, sha256: str) -> bool:
        """Return whether an object is missing or damaged."""
        return self._find("SELECT 1 FROM faulty WHERE id = ?", sha256) is not None

    def list_faulty(self) -> Iterator[str]:
        """Yield the ids of missing and damaged objects, sorted."""
        yield from (row[0].hex() for row in self._database.execute("SELECT id FROM faulty ORDER BY id"))

    def _find(self, query: str, sha256: str) -> tuple[int, ...] | None:
        found: tuple[int, ...] | None = self._database.execute(query, (bytes.fromhex(sha256),)).fetchone()
        return found

    def _list(self, query: str) -> Iterator[IndexedObject]:
        yield from (IndexedObject(row[0].hex(), row[1]) for row in self._database.execute(query))

    def _sum(self, condition: str) -> tuple[int, int]:
        query = f"SELECT count(*), coalesce(sum(size_bytes), 0) FROM objects WHERE {condition}"  # noqa: S608 (constants)
        number, size_bytes = self._database.execute(query).fetchone()
        return number, size_bytes


@contextmanager
def open_object_index(work_folder: Path) -> Iterator[ObjectIndex]:
    """Open an empty index in a scratch folder below `work_folder`, and remove it at the end."""
    with (
        make_scratch_folder(work_folder, "objects") as folder,
        closing(sqlite3.connect(folder / "objects.sqlite", isolation_level=None)) as connection,
    ):
        yield ObjectIndex(connection)
