"""SQL over tables that are larger than memory, by DuckDB: what does not fit lies in a scratch folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from habla_ml.errors import LakeError
from habla_ml.scratch import make_scratch_folder

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY_LIMIT: Final = "512MiB"
"""Memory for tables, hash tables and sorting; DuckDB takes some more."""
_THREADS: Final = 2
_INPUT: Final = "batches"
_READER_ROWS: Final = 65_536

Parameters = Sequence[Any] | Mapping[str, Any]


class ScratchDatabase:
    """Tables for one piece of work. It reads no file, network address or Python variable by its name."""

    def __init__(self, connection: DuckDBPyConnection) -> None:
        """Take a connection that nothing else uses."""
        self._connection = connection

    def run(self, sql: str, parameters: Parameters = ()) -> None:
        """Run a statement."""
        self._connection.execute(sql, parameters or None)

    def load(self, sql: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema, parameters: Parameters = ()) -> int:
        """Run a statement over a stream of rows, which it reads once as the table `batches`; return the rows it stored."""
        self._connection.register(_INPUT, pa.RecordBatchReader.from_batches(schema, batches))
        found = self._connection.execute(sql, parameters or None).fetchone()
        self._connection.unregister(_INPUT)  # after an error nothing works any more
        return int(found[0]) if found else 0

    def query(self, sql: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
        """Return the rows of a query over a stream of rows, which it reads once as the table `batches`."""
        self._connection.register(_INPUT, pa.RecordBatchReader.from_batches(schema, batches))
        found = self._connection.sql(sql).to_arrow_table()
        self._connection.unregister(_INPUT)
        return found

    def load_columns(self, sql: str, columns: Mapping[str, pa.Array]) -> None:
        """Run a statement over the table `batches` with these columns."""
        table = pa.table(dict(columns))
        self.load(sql, table.to_batches(), table.schema)

    def fetch_rows(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query, which are few."""
        return self._connection.execute(sql, parameters or None).fetchall()

    def fetch_table(self, sql: str, parameters: Parameters = ()) -> pa.Table:
        """Return the rows of a query that fit into memory."""
        return self._connection.sql(sql, params=parameters or None).to_arrow_table()

    def iterate_batches(self, sql: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query of any size; run no other statement meanwhile."""
        from duckdb import OutOfMemoryException

        try:
            yield from self._connection.sql(sql).to_arrow_reader(_READER_ROWS)
        except OSError as error:  # what pyarrow makes of it
            raise OutOfMemoryException(str(error)) from error


@contextmanager
def open_scratch_database(work_folder: Path | None) -> Iterator[ScratchDatabase]:
    """Yield an empty database with a scratch folder below `work_folder`; None for one in memory alone.

    Raises:
        LakeError: Memory or the disk of the folder are full.
        OSError: The folder cannot be created.
    """
    import duckdb

    with nullcontext() if work_folder is None else make_scratch_folder(work_folder, "database") as folder:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": "" if folder is None else str(folder / "spilled"),
            "threads": _THREADS,
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        path = ":memory:" if folder is None else str(folder / "tables.duckdb")
        with closing(duckdb.connect(path, config=config)) as connection:
            # In this order: the paths above cannot be set any more without external access.
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            # Nothing is committed, so that nothing waits for the disk. Full row groups are written anyway.
            connection.execute("BEGIN")
            try:
                yield ScratchDatabase(connection)
            except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
                place = "" if folder is None else f" in {folder}"
                fault = f"cannot sort and join tables{place} with {MEMORY_LIMIT} of memory"
                reason = str(error).partition("\n")[0]
                raise LakeError(f"{fault}: {reason}; free some space, then run again") from error
