"""The fingerprints of the corpus, in tables by day of recording.

A fingerprint depends on the sound only. So a changed day computes those of its new sounds, and an unchanged day costs a
comparison of digests. An erasure removes the rows of erased sounds, as in every table with `audio_sha256`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.audio import decode_flac
from habla_ml.audio.fingerprint import FINGERPRINT_FORMAT, fingerprint
from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.fingerprint_index import FingerprintSet
from habla_ml.errors import PointerMovedError
from habla_ml.lake import Lake, Pointer, catalogue, to_canonical_json
from habla_ml.lake.shards import find_rows
from habla_ml.lake.table import put_table, read_parquet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    SoundFingerprint = tuple[str, NDArray[np.uint32]]

_SCHEMA: Final = pa.schema([("audio_sha256", pa.string()), ("words", pa.binary())])
_PART_ROWS: Final = 65_536
_BATCH_ROWS: Final = 4_096


@dataclass(frozen=True)
class DayFingerprints:
    """Fingerprints of sounds by day, one part in memory; every iteration reads them again."""

    lake: Lake
    recordings: Mapping[str, str]
    """Day → object id of its parquet of audio."""
    read_sounds: Callable[[], Iterable[tuple[str, Collection[str]]]]
    """Yields each day, sorted, and the sha256 of its sounds."""

    def __iter__(self) -> Iterator[FingerprintSet]:
        for day, sounds in self.read_sounds():
            yield from load_fingerprints(self.lake, day, self.recordings[day], sounds)


def load_fingerprints(lake: Lake, day: str, recordings: str, sounds: Collection[str]) -> Iterator[FingerprintSet]:
    """Yield the fingerprints of a day's `sounds`, at most 65,536 at once; compute and store the missing ones first.

    Args:
        lake: The lake of the day.
        day: The day, `YYYY-MM-DD`.
        recordings: Object id of the day's parquet of audio; read only where a fingerprint is missing.
        sounds: sha256 of the sounds. One that `recordings` lacks gets no fingerprint.
    """
    wanted = pa.array(sorted(sounds), pa.string())
    for part in _complete_day(lake, day, recordings, sounds):
        table = read_parquet(lake.fetch_path(part))
        table = table.filter(pc.is_in(table["audio_sha256"], wanted))
        if table.num_rows:
            yield _to_fingerprint_set(table)


def store_fingerprints(
    lake: Lake, day: str, fingerprints: Iterable[SoundFingerprint], seen: Pointer | None = None
) -> list[str]:
    """Add fingerprints of a day's sounds to those of the pointer `seen`; return the object ids of all.

    If another process moved the pointer first, keep its state; the missing fingerprints are computed next time.
    """
    before = _list_parts(seen)
    tables = [read_parquet(lake.fetch_path(part)) for part in before[-1:]]
    waiting = pa.concat_tables(tables) if tables and tables[0].num_rows < _PART_ROWS else _SCHEMA.empty_table()
    parts = before[:-1] if waiting.num_rows else before
    left = iter(fingerprints)
    while batch := list(islice(left, _BATCH_ROWS)):
        names, words = zip(*batch, strict=True)
        columns = [pa.array(names, pa.string()), pa.array([each.astype("<u4").tobytes() for each in words])]
        waiting = pa.concat_tables([waiting, pa.table(columns, schema=_SCHEMA)])
        if waiting.num_rows >= _PART_ROWS:
            parts, waiting = [*parts, put_table(lake, waiting)], _SCHEMA.empty_table()
    if waiting.num_rows:
        parts = [*parts, put_table(lake, waiting)]
    with suppress(PointerMovedError):
        lake.move_pointer(catalogue.FINGERPRINTS.name(day), {"format": FINGERPRINT_FORMAT, "parts": parts}, seen)
    return parts


def digest_sounds(sounds: Collection[str]) -> str:
    """Return a digest of sounds whose fingerprints were compared; another kind of fingerprint changes it.

    It is that of the JSON value `[kind of fingerprint, [sounds, sorted]]`.
    """
    ordered = sorted(sounds)
    digest = hashlib.sha256(to_canonical_json([FINGERPRINT_FORMAT])[:-1] + b",[")
    for first in range(0, len(ordered), _PART_ROWS):  # the JSON of a large day is not made at once
        part = to_canonical_json(ordered[first : first + _PART_ROWS])[1:-1]
        digest.update(b"," + part if first else part)
    digest.update(b"]]")
    return digest.hexdigest()


def _complete_day(lake: Lake, day: str, recordings: str, sounds: Collection[str]) -> list[str]:
    """Return the object ids of the day's fingerprints, with those of all `sounds`."""
    pointer = lake.read_pointer(catalogue.FINGERPRINTS.name(day))
    parts, missing = _list_parts(pointer), set(sounds)
    for part in parts:
        missing.difference_update(read_parquet(lake.fetch_path(part), ["audio_sha256"])["audio_sha256"].to_pylist())
    if not missing:
        return parts
    missing -= read_tombstones(lake).sounds
    return store_fingerprints(lake, day, _compute_fingerprints(lake, recordings, missing), pointer)


def _list_parts(pointer: Pointer | None) -> list[str]:
    if pointer is None or pointer.value["format"] != FINGERPRINT_FORMAT:
        return []
    return list(pointer.value["parts"])


def _to_fingerprint_set(table: pa.Table) -> FingerprintSet:
    words = table["words"].combine_chunks()
    ends = np.cumsum(pc.binary_length(words).to_numpy(), dtype=np.int64) // 4
    joined = b"".join(words.to_pylist())
    names = tuple(table["audio_sha256"].to_pylist())
    return FingerprintSet(names, np.frombuffer(joined, "<u4").astype(np.uint32), np.concatenate([[0], ends]))


def _compute_fingerprints(lake: Lake, recordings: str, missing: set[str]) -> Iterator[SoundFingerprint]:
    """Yield the fingerprints of the sounds; decode no other audio, and read one row group at a time."""
    for found in find_rows(lake, recordings, "audio_sha256", missing.__contains__, ["audio_sha256", "audio"]):
        for row in found.rows.to_pylist():
            if (name := row["audio_sha256"]) in missing:
                missing.remove(name)
                yield name, fingerprint(decode_flac(row["audio"]))
