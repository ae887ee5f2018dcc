"""Audio of clips that stays in tables of the lake, read through shards in the lake's local cache.

A shard has the run's clips of one row group as 16-bit samples, each with its checksum. It is named by its content: the
object, the row group and the clips. The first reader of a clip fetches the row group's audio by a range of bytes, decodes
it and writes the shard; every process on the host reads it from there. Shards are in no store, so they are derived again
wherever they are missing, damaged or removed, and an erasure that deletes the object leaves nothing to derive.
"""

from __future__ import annotations

import hashlib
import logging
import os
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np

from habla_ml.audio import decode_flac, pcm_sha256, quantise
from habla_ml.errors import InputError, LakeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from habla_ml.corpus.snapshot import StoredUtterance
    from habla_ml.lake import Lake

_CHECKSUM_BYTES: Final = 4
_ATTEMPTS: Final = 3
_KEY_CHARS: Final = 16


class ClipPlace(NamedTuple):
    """The place of a clip's audio in the lake."""

    parquet: str
    """Object with the column `audio`."""
    row_group: int
    row: int
    audio_sha256: str

    @classmethod
    def of(cls, stored: StoredUtterance) -> Self:
        """Return the place of an utterance."""
        return cls(stored.parquet, stored.row_group, stored.row, stored.audio_sha256)


class PlaceWriter:
    """Collects the places of clips, in the order of the clips."""

    def __init__(self) -> None:
        self._shards: dict[tuple[str, int], int] = {}
        self._clips: list[tuple[int, int]] = []
        self._sounds: list[bytes] = []

    @property
    def n_stored(self) -> int:
        """Clips in the lake so far."""
        return sum(shard >= 0 for shard, _ in self._clips)

    def add(self, place: ClipPlace | None) -> None:
        """Add the next clip; None for one that is not in the lake."""
        if place is None:
            self._clips.append((-1, 0))
            self._sounds.append(bytes(32))
            return
        shard = self._shards.setdefault((place.parquet, place.row_group), len(self._shards))
        self._clips.append((shard, place.row))
        self._sounds.append(bytes.fromhex(place.audio_sha256))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of `StoredAudio`, for an index."""
        return {
            "shard_objects": np.array([name for name, _ in self._shards], np.str_),
            "shard_groups": np.array([group for _, group in self._shards], np.int64),
            "clip_places": np.array(self._clips, np.int64).reshape(-1, 2),
            "clip_sounds": np.frombuffer(b"".join(self._sounds), np.uint8).reshape(-1, 32),
        }


@dataclass(frozen=True)
class StoredAudio:
    """Samples of clips by index, from the lake's tables."""

    lake: Lake
    shard_objects: NDArray[np.str_]
    """Parquet of each shard."""
    shard_groups: NDArray[np.int64]
    """Its row group."""
    clip_places: NDArray[np.int64]
    """Shard of each clip, −1 for a clip that is not in the lake, and its row in the row group; [clips, 2]."""
    clip_sounds: NDArray[np.uint8]
    """sha256 of the samples of each clip, [clips, 32]."""
    n_samples: NDArray[np.int64]
    """Of each clip."""

    @classmethod
    def of(cls, lake: Lake, index: Mapping[str, NDArray[Any]], n_samples: NDArray[np.int64]) -> StoredAudio:
        """Open what `PlaceWriter` wrote to an index."""
        names = ("shard_objects", "shard_groups", "clip_places", "clip_sounds")
        return cls(lake=lake, n_samples=n_samples, **{name: index[name] for name in names})

    def has(self, clip: int) -> bool:
        """Return whether the lake has the clip."""
        return bool(self.clip_places[clip, 0] >= 0)

    def read(self, clip: int) -> NDArray[np.int16]:
        """Return the samples of a clip.

        Raises:
            LakeError: The lake cannot be read, or its audio is damaged.
        """
        shard, place = int(self.clip_places[clip, 0]), int(self._positions[clip])
        clips = self._list_clips(shard)
        start, size = int(self._starts[place] - self._starts[clips[0]]) * 2, int(self.n_samples[clip]) * 2
        tail = self._count_sample_bytes(shard) + _CHECKSUM_BYTES * (place - clips[0])
        for _ in range(_ATTEMPTS):
            try:
                with self._find_shard(shard).open("rb") as file:
                    file.seek(start)
                    data = file.read(size)
                    file.seek(tail)
                    checksum = file.read(_CHECKSUM_BYTES)
            except FileNotFoundError:
                continue  # another process needed its space
            except OSError as error:
                logging.getLogger(__name__).warning("a clip is decoded without a cache: %s", error)
                return self._decode(shard, [place])[0]
            if len(data) == size and zlib.crc32(data) == int.from_bytes(checksum, "little"):
                return np.frombuffer(data, "<i2")
            self.lake.drop_part(str(self.shard_objects[shard]), self._names[shard])
        return self._decode(shard, [place])[0]

    def fetch(self, n_clips: int, report: Callable[[str], None]) -> None:
        """Decode the shards of the first `n_clips` clips to the cache, if they fit in it: a run then never waits for them.

        Several processes on a host share the work.
        """
        places = self.clip_places[:n_clips, 0]
        shards = np.unique(places[places >= 0])
        size_bytes = sum(map(self._count_sample_bytes, shards.tolist()))
        if size_bytes > self.lake.cache_limit_bytes:
            report(
                f"the clips take {size_bytes / 1e9:.1f} GB and the cache {self.lake.cache_limit_bytes / 1e9:.1f} GB, so each "
                "pass reads them from the lake again; see shuffle_h and lake.cache_limit_gb in docs/reading_clips.md"
            )
            return
        missing = [each for each in shards.tolist() if not self._is_cached(each)]
        if missing:
            report(f"decoding {len(missing)} of {len(shards)} shards of clips ({size_bytes / 1e9:.2f} GB in all)")
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for _ in pool.map(self._fetch_shard, missing):
                pass

    def _fetch_shard(self, shard: int) -> None:
        try:
            self._find_shard(shard)
        except OSError as error:
            logging.getLogger(__name__).warning("a shard of clips is not cached: %s", error)

    def _is_cached(self, shard: int) -> bool:
        return self.lake.find_part(str(self.shard_objects[shard]), self._names[shard]) is not None

    def _find_shard(self, shard: int) -> Path:
        return self.lake.cache_part(
            str(self.shard_objects[shard]), self._names[shard], partial(self._write_shard, shard)
        )

    def _write_shard(self, shard: int, target: Path) -> None:
        clips = self._list_clips(shard)
        with target.open("wb") as file:
            checksums = []
            for pcm in self._decode(shard, clips):
                data = pcm.astype("<i2").tobytes()
                file.write(data)
                checksums.append(zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "little"))
            file.write(b"".join(checksums))

    def _decode(self, shard: int, places: Any) -> list[NDArray[np.int16]]:
        """Return the samples of clips of a shard, by their places in `_order`; raises `LakeError` if they are damaged."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        name, group = str(self.shard_objects[shard]), int(self.shard_groups[shard])
        fault = f"object {name} in {self.lake.url} is damaged: row group {group} has"
        try:
            file = pq.ParquetFile(pa.PythonFile(self.lake.open_ranges(name), "r"))
            audio = file.read_row_group(group, columns=["audio"])["audio"]
            found = []
            for clip in self._order[list(places)]:
                pcm = quantise(decode_flac(audio[int(self.clip_places[clip, 1])].as_py()))
                if bytes.fromhex(pcm_sha256(pcm)) != self.clip_sounds[clip].tobytes():
                    raise LakeError(f"{fault} other audio in row {self.clip_places[clip, 1]}; restore it from a backup")
                found.append(pcm)
        except (InputError, IndexError, pa.ArrowException) as error:
            raise LakeError(f"{fault} no readable audio ({error}); restore it from a backup") from error
        return found

    def _count_sample_bytes(self, shard: int) -> int:
        clips = self._list_clips(shard)
        return 2 * int(self._starts[clips.stop] - self._starts[clips.start])

    def _list_clips(self, shard: int) -> range:
        """Return the places of a shard's clips in `_order`."""
        return range(int(self._shard_starts[shard]), int(self._shard_starts[shard + 1]))

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        """The clips, sorted by shard and row."""
        return np.lexsort((self.clip_places[:, 1], self.clip_places[:, 0]))

    @cached_property
    def _positions(self) -> NDArray[np.int64]:
        """The place of each clip in `_order`."""
        positions = np.empty(len(self._order), np.int64)
        positions[self._order] = np.arange(len(self._order))
        return positions

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """The samples before each place in `_order`."""
        return np.concatenate([[0], np.cumsum(self.n_samples[self._order])])

    @cached_property
    def _shard_starts(self) -> NDArray[np.int64]:
        """The first place of each shard in `_order`, and the end of the last."""
        shards = np.arange(len(self.shard_groups) + 1)
        return np.searchsorted(self.clip_places[self._order, 0], shards)

    @cached_property
    def _names(self) -> list[str]:
        """The part of its object that each shard is, in the cache."""
        names = []
        for shard, group in enumerate(self.shard_groups):
            clips = self._order[list(self._list_clips(shard))]
            content = self.clip_places[clips, 1].tobytes() + self.clip_sounds[clips].tobytes()
            names.append(f"{group}.{hashlib.sha256(content).hexdigest()[:_KEY_CHARS]}")
        return names
