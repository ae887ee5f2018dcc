"""An index of the lake's objects, so that an erasure reads the tables that can have its segments, and no others.

The pointer `erasure/index` names a few parquet objects with one row for each indexed object: its kind and, of a table, its
sessions with a mark of each speaker, and marks of its segments and sounds. A mark is 48 bits of a digest, so the index has
no name and no text. A table that a mark finds by chance is read for nothing.

An object never changes, so its row is right for as long as it exists. An object without a row is read, and gets one. So an
index that is old, lost or damaged costs requests, and hides nothing.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from habla_ml.consent.register import Contributor, matches_any
from habla_ml.erasure.matcher import ID_COLUMNS, START_BYTES, ErasureMatcher, is_html, is_parquet
from habla_ml.errors import LakeError, PointerMovedError
from habla_ml.lake import Lake, Pointer, catalogue
from habla_ml.lake.reachability import is_json
from habla_ml.lake.shards import load_shards
from habla_ml.lake.table import open_parquet
from habla_ml.names import canonical_name

TABLE, JSON, PAGE, TEXT, BINARY, INDEX = "table", "json", "page", "text", "binary", "index"
"""Kinds of objects. A binary has a zero byte at its start; `index` is a part of this index."""

_FORMAT: Final = f"habla_ml.table_index/1 {','.join(sorted(ID_COLUMNS))} unicode {unicodedata.unidata_version}"
"""Names have other canonical forms, and so other marks, in another version of Unicode."""
_MARK_BYTES: Final = 6
_LARGE_BYTES: Final = 1 << 20
"""A larger table can have audio; then only its columns of ids are read."""
_SMALL_PART_BYTES: Final = 8 << 20
"""A smaller part is written again with the next change."""
_MOST_BYTES_IN_MEMORY: Final = 64 << 20
_ROWS_AT_ONCE: Final = 32
_VOICE_COLUMNS: Final = ("session_id", "speaker")
_SCHEMA: Final = pa.schema(
    [
        pa.field("object", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("marks", pa.list_(pa.uint64()), nullable=False),
        pa.field("sessions", pa.list_(pa.string()), nullable=False),
        pa.field("speakers", pa.list_(pa.uint64()), nullable=False),
    ]
)
Marks = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class IndexRow:
    """What the index knows of an object."""

    object_id: str
    kind: str
    marks: Marks = field(default_factory=lambda: np.empty(0, np.uint64))
    """Of the ids and the sounds of its segments, sorted."""
    sessions: tuple[str, ...] = ()
    speakers: tuple[int, ...] = ()
    """The mark of a speaker for each of `sessions`, which names a session once for each of its speakers."""

    @property
    def size_bytes(self) -> int:
        """About the memory that it takes."""
        return self.marks.nbytes + 150 * (1 + len(self.sessions))

    def has_any(self, marks: Marks) -> bool:
        """Return whether it can have one of these segments or sounds."""
        return bool(len(self.marks)) and bool(np.isin(marks, self.marks).any())

    def has_any_session(self, sessions: Collection[str]) -> bool:
        """Return whether it has a segment of one of these sessions."""
        return not set(sessions).isdisjoint(self.sessions)


def make_mark(text: str) -> int:
    """Return the mark of an id or of a name's canonical form."""
    return int.from_bytes(blake2b(text.encode(), digest_size=_MARK_BYTES).digest(), "big")


def make_marks(texts: Iterable[str]) -> Marks:
    """Return the marks of some ids, sorted."""
    return np.unique(np.fromiter(map(make_mark, texts), np.uint64))


def search_contributors(contributors: Iterable[Contributor]) -> Callable[[IndexRow], bool]:
    """Return a function that says whether an object can have a segment that one of these contributors covers."""
    named, patterns, segments = set[int](), set[str](), set[str]()
    labels: dict[int, set[str]] = defaultdict(set)
    for each in contributors:
        named.add(make_mark(canonical_name(each.contributor)))
        patterns.update(each.sessions)
        segments.update(each.segments)
        for voice in each.speakers:
            labels[make_mark(canonical_name(voice.label))].update(voice.sessions)
    marks = make_marks(segments)

    def may_have(indexed: IndexRow) -> bool:
        return indexed.has_any(marks) or any(
            speaker in named or matches_any(session, labels.get(speaker, ())) or matches_any(session, patterns)
            for session, speaker in zip(indexed.sessions, indexed.speakers, strict=True)
        )

    return may_have


@dataclass
class TableIndex:
    """The index of a lake and what was learned since it was read; made by `load_index`."""

    lake: Lake
    seen: Pointer | None
    parts: dict[str, frozenset[str]]
    """Object with rows of the index → the objects that it describes."""
    kinds: dict[str, str]
    """Object → its kind."""
    _learned: list[IndexRow] = field(default_factory=list)
    _learned_bytes: int = 0
    _shards: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Table → its parquet objects."""

    @property
    def has_learned(self) -> bool:
        """Return whether the stored index has other parts, or not all that this one knows."""
        return bool(self._learned) or self.parts.keys() != self._stored_parts

    def learn(self, sizes_bytes: Mapping[str, int]) -> None:
        """Read the objects that the index does not know; of large tables with audio, only the ids.

        Raises the errors of `Lake.read_object_start` and `Lake.fetch_path`.
        """
        for each, size_bytes in sizes_bytes.items():
            if each not in self.kinds and each not in self.parts:
                kind = _find_kind(self.lake.read_object_start(each, START_BYTES))
                self._add(_read_object(self.lake, each, kind, is_large=size_bytes > _LARGE_BYTES))

    def learn_audio(self, metadata_by_audio: Mapping[str, str]) -> None:
        """Learn tables with audio from those of their metadata, which have the same segments."""
        wanted: dict[str, list[str]] = defaultdict(list)
        for audio, metadata in metadata_by_audio.items():
            if self.kinds.get(audio) == TABLE:
                continue
            # Audio in one object has metadata in one, which is no manifest.
            is_one = self.list_shards(metadata) == (metadata,)
            shards = (audio,) if is_one else [each.parquet for each in load_shards(self.lake, audio).shards]
            for one, other in zip(shards, self.list_shards(metadata), strict=True):
                if one not in self.kinds:
                    wanted[other].append(one)
        for each in [each for each in self.iterate() if each.object_id in wanted]:
            for audio in wanted[each.object_id]:
                self._add(IndexRow(audio, TABLE, each.marks, each.sessions, each.speakers))

    def find(self, table_ids: Iterable[str], is_wanted: Callable[[IndexRow], bool]) -> set[str]:
        """Return those of these tables for which `is_wanted` holds, of a table in shards for one of them."""
        tables: dict[str, set[str]] = defaultdict(set)
        for table_id in set(table_ids):
            for shard in self.list_shards(table_id):
                tables[shard].add(table_id)
        return {
            table_id
            for each in self.iterate()
            if each.object_id in tables and is_wanted(each)
            for table_id in tables[each.object_id]
        }

    def find_clean(self, matcher: ErasureMatcher) -> frozenset[str]:
        """Return the known tables that have no erased segment and no erased sound."""
        marks = make_marks((*matcher.segments, *matcher.sounds))
        return frozenset(each.object_id for each in self.iterate() if each.kind == TABLE and not each.has_any(marks))

    def list_leaves(self) -> set[str]:
        """Return the known objects that are no JSON, so that they name no other."""
        return {each for each, kind in self.kinds.items() if kind != JSON}

    def iterate(self) -> Iterator[IndexRow]:
        """Yield everything that the index knows; memory holds a few rows."""
        yield from chain.from_iterable(_read_part(self.lake, part) for part in self.parts)
        yield from self._learned

    def save(self, present: Collection[str]) -> set[str]:
        """Publish what is known of `present` objects; return the parts that the index does not need any more.

        The rows of other objects go. If another process saved its own index meanwhile, that one stays, because the rows of
        this one can be learned again.
        """
        present, stored, kept = frozenset(present), self._stored_parts, list[str]()
        if not self.has_learned and all(described <= present for described in self.parts.values()):
            return set()
        for part, described in self.parts.items():
            is_small = self.lake.fetch_path(part).stat().st_size < _SMALL_PART_BYTES
            kept += [] if is_small or not described <= present else [part]
        rows = chain(*(_read_part(self.lake, each) for each in self.parts if each not in kept), self._learned)
        parts = {part: self.parts[part] for part in kept}
        for chunk in _divide(each for each in rows if each.object_id in present):
            parts[_write_part(self.lake, chunk)] = frozenset(each.object_id for each in chunk)
        value = {"format": _FORMAT, "parts": sorted(parts)}
        try:
            self.seen = self.lake.move_pointer(catalogue.ERASURE_INDEX, value, self.seen)
        except PointerMovedError:
            return set()
        replaced = stored - parts.keys()
        self.parts, self._learned, self._learned_bytes = parts, [], 0
        self.kinds = {each: kind for each, kind in self.kinds.items() if each in present}
        return replaced

    @property
    def _stored_parts(self) -> set[str]:
        return set() if self.seen is None else set(self.seen.value["parts"])

    def list_shards(self, table_id: str) -> tuple[str, ...]:
        """Return the parquet objects of a table of metadata or text, and learn them."""
        self._learn_whole(table_id)
        if self.kinds[table_id] == TABLE:
            return (table_id,)
        if table_id not in self._shards:
            self._shards[table_id] = tuple(each.parquet for each in load_shards(self.lake, table_id).shards)
        for each in self._shards[table_id]:
            self._learn_whole(each)
        return self._shards[table_id]

    def _learn_whole(self, object_id: str) -> None:
        if object_id not in self.kinds:
            with self.lake.fetch_path(object_id).open("rb") as file:
                kind = _find_kind(file.read(START_BYTES))
            self._add(_read_object(self.lake, object_id, kind, is_large=False))

    def _add(self, learned: IndexRow) -> None:
        self.kinds[learned.object_id] = learned.kind
        self._learned.append(learned)
        self._learned_bytes += learned.size_bytes
        if self._learned_bytes > _MOST_BYTES_IN_MEMORY:
            part = _write_part(self.lake, self._learned)
            self.parts[part] = frozenset(each.object_id for each in self._learned)
            self._learned, self._learned_bytes = [], 0


def load_index(lake: Lake) -> TableIndex:
    """Read the index of a lake. A part that is missing or damaged is left out, so that its objects are read again."""
    seen = lake.read_pointer(catalogue.ERASURE_INDEX)
    index = TableIndex(lake, seen, {}, {})
    if seen is None or seen.value["format"] != _FORMAT:
        return index
    for part in seen.value["parts"]:
        try:
            kinds = {each.object_id: each.kind for each in _read_part(lake, part)}
        except (LakeError, OSError, ValueError):  # pyarrow's errors are both
            continue
        index.parts[part] = frozenset(kinds)
        index.kinds |= kinds
    return index


def _read_object(lake: Lake, object_id: str, kind: str, *, is_large: bool) -> IndexRow:
    if kind != TABLE:
        return IndexRow(object_id, kind)
    if is_large:
        file = pq.ParquetFile(pa.PythonFile(lake.open_ranges(object_id), "r"))
    else:
        file = open_parquet(lake.fetch_path(object_id))
    names = file.schema_arrow.names
    if names == _SCHEMA.names:
        return IndexRow(object_id, INDEX)
    if is_large and "audio" not in names:
        file = open_parquet(lake.fetch_path(object_id))
    keys, voices = set[str](), set[tuple[str, str]]()
    for batch in file.iter_batches(columns=[each for each in (*ID_COLUMNS, *_VOICE_COLUMNS) if each in names]):
        keys.update(*(filter(None, _read_texts(batch, name)) for name in ID_COLUMNS))
        if "session_id" in names:
            sessions, speakers = (_read_texts(batch, name) for name in _VOICE_COLUMNS)
            voices.update((session or "", speaker or "") for session, speaker in zip(sessions, speakers, strict=True))
    described = sorted((session, make_mark(canonical_name(speaker))) for session, speaker in voices)
    marks = make_marks(keys)
    return IndexRow(object_id, TABLE, marks, tuple(one for one, _ in described), tuple(two for _, two in described))


def _find_kind(start: bytes) -> str:
    if is_parquet(start):
        return TABLE
    if is_html(start):
        return PAGE
    if is_json(start):
        return JSON
    return BINARY if b"\0" in start else TEXT


def _read_texts(batch: pa.RecordBatch, name: str) -> list[str | None]:
    if name not in batch.schema.names:
        return [None] * batch.num_rows
    texts: list[str | None] = batch[name].cast(pa.string()).to_pylist()
    return texts


def _read_part(lake: Lake, part: str) -> Iterator[IndexRow]:
    """Yield the rows of a part; raises `OSError` if a page of it is damaged."""
    file = open_parquet(lake.fetch_path(part), verifies_pages=True)
    for batch in file.iter_batches(_ROWS_AT_ONCE):
        marks = np.split(batch["marks"].flatten().to_numpy(), np.cumsum(batch["marks"].value_lengths())[:-1])
        others = (batch[name].to_pylist() for name in ("object", "kind", "sessions", "speakers"))
        for object_id, kind, sessions, speakers, own in zip(*others, marks, strict=True):
            yield IndexRow(object_id, kind, own, tuple(sessions), tuple(speakers))


def _write_part(lake: Lake, rows: Iterable[IndexRow]) -> str:
    """Store rows of the index; the same rows give the same object."""
    found = sorted(rows, key=lambda each: each.object_id)
    columns = [
        [each.object_id for each in found],
        [each.kind for each in found],
        [each.marks for each in found],
        [each.sessions for each in found],
        [each.speakers for each in found],
    ]
    arrays = [pa.array(column, each.type) for column, each in zip(columns, _SCHEMA, strict=True)]
    out = pa.BufferOutputStream()
    pq.write_table(
        pa.table(arrays, schema=_SCHEMA),
        out,
        compression="zstd",
        use_dictionary=["kind", "sessions.list.element"],
        column_encoding={f"{each}.list.element": "DELTA_BINARY_PACKED" for each in ("marks", "speakers")},
        write_statistics=False,
        write_page_checksum=True,
    )
    return lake.put_bytes(out.getvalue().to_pybytes())


def _divide(rows: Iterable[IndexRow]) -> Iterator[list[IndexRow]]:
    """Yield the rows in groups that fit into memory."""
    chunk, size_bytes = list[IndexRow](), 0
    for each in rows:
        chunk.append(each)
        size_bytes += each.size_bytes
        if size_bytes > _MOST_BYTES_IN_MEMORY:
            yield chunk
            chunk, size_bytes = [], 0
    if chunk:
        yield chunk
