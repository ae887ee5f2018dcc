"""Follow pointers to all objects that they lead to, and find the objects that are missing or cannot be read.

An object is reached by the rule of `habla_ml.lake.reachability`, which also decides what a cleanup keeps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow.parquet as pq
from pyarrow import ArrowException

from habla_ml.corpus.near_duplicates import DROPPED_TABLE_FORMAT
from habla_ml.corpus.snapshot import FORMAT as SNAPSHOT_FORMAT
from habla_ml.corpus.split_ledger import TABLE_FORMAT as LEDGER_TABLE_FORMAT
from habla_ml.errors import LakeError, ObjectMissingError
from habla_ml.integrity.object_index import ObjectIndex
from habla_ml.integrity.pointer_kinds import PointerKind, find_pointer_kind
from habla_ml.lake import Lake
from habla_ml.lake.lake import TREE_FORMAT
from habla_ml.lake.reachability import find_ids, find_ids_in_text, is_json
from habla_ml.lake.shards import SHARDS_FORMAT

_START_BYTES: Final = 64
_TABLE_START: Final = b"PAR1"
_TABLE_KEYS: Final = {SNAPSHOT_FORMAT: "segments", LEDGER_TABLE_FORMAT: "pinned_audio", DROPPED_TABLE_FORMAT: "dropped"}
"""Format of a JSON object → the key with the id of its table."""


@dataclass(frozen=True)
class ObjectFault:
    """An object that a pointer needs and that is missing, damaged, or no table where it must be one."""

    pointer: str
    key: str
    """The key of the pointer, or the file of a tree, that names the object."""
    object_id: str
    fault: str
    """What is wrong, as the end of a sentence: `is missing`."""


@dataclass(frozen=True)
class LakeWalk:
    """Marks the objects of an index that pointers lead to."""

    lake: Lake
    index: ObjectIndex
    checks_tables: bool = False
    """Whether the footer of every table is read."""

    def follow(self, name: str, value: Mapping[str, Any]) -> Iterator[ObjectFault]:
        """Mark all objects that a pointer leads to, and yield what is wrong with those that it needs."""
        kind = find_pointer_kind(name)
        tables = {}
        for key, object_id in _list_needed(kind, value):
            if self._is_missing(object_id):
                yield self._make_fault(name, key, object_id, "is missing")
            elif kind is not None and key in kind.tables:
                tables[object_id] = key
        waiting = [each for each in find_ids(dict(value)) if self.index.reach(each, name)]
        while waiting:
            object_id = waiting.pop()
            try:
                start = self.lake.read_object_start(object_id, _START_BYTES)
                text = self.lake.get_bytes(object_id).decode("utf-8", "replace") if is_json(start) else ""
            except LakeError as error:
                yield self._make_fault(name, tables.get(object_id, ""), object_id, f"cannot be read ({error})")
                continue
            if text:
                if object_id in tables and f'"{SHARDS_FORMAT}"' not in text:
                    yield self._make_fault(
                        name, tables[object_id], object_id, "is neither a table nor its list of shards"
                    )
                yield from self._check_named_objects(name, text)
                waiting += [each for each in find_ids_in_text(text) if self.index.reach(each, name)]
            elif self.checks_tables and (start.startswith(_TABLE_START) or object_id in tables):
                yield from self._check_table(name, tables.get(object_id, ""), object_id)

    def _check_named_objects(self, name: str, text: str) -> Iterator[ObjectFault]:
        """Yield what is wrong with the files of a tree, the shards of a table, or the table of a snapshot or ledger."""
        if not any(f'"{each}"' in text for each in (TREE_FORMAT, SHARDS_FORMAT, *_TABLE_KEYS)):
            return
        try:
            value = json.loads(text)
        except ValueError:
            return  # some other text that only quotes a format
        kind = value.get("format") if isinstance(value, dict) else None
        key = _TABLE_KEYS.get(kind) if isinstance(kind, str) else None
        if key is not None and self._is_missing(value[key]):
            yield self._make_fault(name, key, value[key], "is missing")
        for each in value["shards"] if kind == SHARDS_FORMAT else ():
            if self._is_missing(each["parquet"]):
                yield self._make_fault(name, "shards", each["parquet"], "is missing")
        for each in value["files"] if kind == TREE_FORMAT else ():
            if self._is_missing(each["sha256"]):
                yield self._make_fault(name, each["path"], each["sha256"], "is missing")
            elif (found := self.index.find_size_bytes(each["sha256"])) not in (None, each["size_bytes"]):
                fault = f"has {found} bytes in place of {each['size_bytes']}"
                yield self._make_fault(name, each["path"], each["sha256"], fault)

    def _check_table(self, name: str, key: str, object_id: str) -> Iterator[ObjectFault]:
        try:
            with self.lake.open_ranges(object_id) as ranges:
                pq.ParquetFile(ranges).close()
        except (ArrowException, OSError, LakeError) as error:
            yield self._make_fault(name, key, object_id, f"is no parquet table that can be read ({error})")

    def _is_missing(self, object_id: str) -> bool:
        if self.index.find_size_bytes(object_id) is not None:
            return False
        try:
            self.lake.read_object_start(object_id, 1)  # it can be newer than the index
        except ObjectMissingError:
            return True
        return False

    def _make_fault(self, name: str, key: str, object_id: str, fault: str) -> ObjectFault:
        self.index.add_faulty(object_id)
        return ObjectFault(name, key, object_id, fault)


def _list_needed(kind: PointerKind | None, value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield key and id of the objects that must exist."""
    if kind is not None:
        for key in (*kind.objects, *kind.tables):
            yield from ((key, object_id) for object_id in find_ids(value.get(key)))
