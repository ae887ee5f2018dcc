"""Parquet objects of the lake, and their schemas, each derived from the one dataclass that describes a row."""

from __future__ import annotations

import types
from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from habla_ml.lake.lake import Lake

_ROW_GROUP_ROWS: Final = 65_536
_COMPRESSION: Final = "zstd"
_ARROW_TYPES: Final[dict[type, pa.DataType]] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    datetime: pa.timestamp("us", tz="UTC"),
}


def arrow_schema(row: type, without: Collection[str] = (), order: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of a table whose rows are instances of a dataclass.

    A field of type `X | None` is nullable. `tuple[X, ...]` is a list. `Literal` has the type of its values. A datetime
    is UTC in microseconds.

    The fields in `without` are not columns. The columns in `order` are first, the others follow in the order of the
    fields: stored tables keep their order where a class inherits fields. Raises `TypeError` if a field has a type that
    no column can hold.
    """
    hints = get_type_hints(row)
    others = [each.name for each in fields(row) if each.name not in (*without, *order)]
    return pa.schema([_make_field(name, hints[name]) for name in (*order, *others)])


def read_table(lake: Lake, object_id: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a parquet object, or some of its columns, into memory."""
    return _read(open_table(lake, object_id), columns)


def open_table(lake: Lake, object_id: str) -> pq.ParquetFile:
    """Open a parquet object in memory."""
    return pq.ParquetFile(pa.BufferReader(lake.get_bytes(object_id)))


def open_parquet(path: Path, *, verifies_pages: bool = False) -> pq.ParquetFile:
    """Open a parquet file on a local disk, to read it in batches.

    By default pyarrow reads ahead and keeps all that it read until the last batch, so that memory follows the file.
    """
    return pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=verifies_pages)


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a parquet file, or some of its columns, into memory.

    `pyarrow.parquet.read_table` reads by a scanner, whose threads can abort a process that is about to end
    (apache/arrow issues 34314 and 39862).
    """
    return _read(open_parquet(path), columns)


def _read(file: pq.ParquetFile, columns: Sequence[str] | None) -> pa.Table:
    return file.read() if columns is None else file.read(list(columns)).select(list(columns))


def put_table(lake: Lake, table: pa.Table) -> str:
    """Write a table as a parquet object and return its object id; the same table gives the same object."""
    out = pa.BufferOutputStream()
    pq.write_table(table, out, compression=_COMPRESSION, row_group_size=_ROW_GROUP_ROWS)
    return lake.put_bytes(out.getvalue().to_pybytes())


def write_table(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write a stream of tables as one parquet file, with the bytes that `put_table` stores for all rows at once."""
    with pq.ParquetWriter(path, schema, compression=_COMPRESSION) as writer:
        waiting: list[pa.Table] = []
        n_waiting = 0
        for table in tables:
            waiting.append(table)
            n_waiting += table.num_rows
            if n_waiting >= _ROW_GROUP_ROWS:
                rows = pa.concat_tables(waiting)
                n_full = n_waiting - n_waiting % _ROW_GROUP_ROWS
                writer.write_table(rows.slice(0, n_full).combine_chunks(), _ROW_GROUP_ROWS)
                waiting, n_waiting = [rows.slice(n_full)], n_waiting - n_full
        if n_waiting:
            writer.write_table(pa.concat_tables(waiting).combine_chunks(), _ROW_GROUP_ROWS)


def _make_field(name: str, hint: Any) -> pa.Field:
    nullable = False
    if get_origin(hint) in (types.UnionType, Union):
        options = [each for each in get_args(hint) if each is not type(None)]
        nullable = len(options) < len(get_args(hint))
        hint = options[0] if len(options) == 1 else hint
    return pa.field(name, _find_column_type(name, hint), nullable=nullable)


def _find_column_type(name: str, hint: Any) -> pa.DataType:
    if get_origin(hint) is tuple:
        return pa.list_(_find_column_type(name, get_args(hint)[0]))
    if get_origin(hint) is Literal:
        hint = type(get_args(hint)[0])
    if hint not in _ARROW_TYPES:
        known = ", ".join(each.__name__ for each in _ARROW_TYPES)
        raise TypeError(f"{name}: no column holds {hint}; use one of {known}")
    return _ARROW_TYPES[hint]
