"""What an import remembers of the clips of a table, so that the next one decodes only new and changed clips.

The lake holds one row per clip that came in: a digest of the file's relative path, size and times, and the sha256 of its
sound. It holds no path, since names of files can name people, and nothing of clips that wait for a consent. An erasure
removes the rows of erased sounds as it does in every table.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from habla_ml.annotation.sources.tables.clips import LocatedClip
from habla_ml.errors import InputError
from habla_ml.lake import Lake, compute_digest
from habla_ml.lake.table import put_table, read_table

_READER_VERSION: Final = "habla_ml.table_clips/2"
"""Raise it when the same file gives other audio."""
_SCHEMA: Final = pa.schema([("clip", pa.string()), ("audio_sha256", pa.string())])
_SETTLED_AFTER_S: Final = 3.0
"""FAT stores times in steps of 2 s; a younger file can change again without another time."""


@dataclass
class ClipMemory:
    """The sounds of the clips of one table, by the state of their files."""

    longest_s: float
    """Longer clips were refused, so another limit means that every file is read again."""
    _before: dict[str, str] = field(default_factory=dict)
    _seen: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, lake: Lake, object_id: str | None, longest_s: float) -> ClipMemory:
        """Return the memory that an earlier import stored, or an empty one."""
        if object_id is None:
            return cls(longest_s)
        rows = read_table(lake, object_id, _SCHEMA.names)
        return cls(longest_s, dict(zip(*(rows[name].to_pylist() for name in _SCHEMA.names), strict=True)))

    def get_state(self, clip: LocatedClip) -> str:
        """Return a digest of the clip's file from `stat`, to take before the file is read; empty if it may still change.

        Raises `InputError` if the file does not exist any more.
        """
        try:
            found = clip.file.stat()
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}") from None
        if abs(time.time() - found.st_mtime) < _SETTLED_AFTER_S:
            return ""
        times = (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        return compute_digest([_READER_VERSION, self.longest_s, clip.file_name, *times])[:32]

    def recall(self, state: str) -> str | None:
        """Return the sha256 of the sound of a file in this state, or None if it must be read."""
        sound = self._seen.get(state) or self._before.get(state)
        if sound is not None:
            self._seen[state] = sound
        return sound

    def remember(self, state: str, audio_sha256: str) -> None:
        """Note the sound of a file that was read in this state."""
        if state:
            self._seen[state] = audio_sha256

    def save(self, lake: Lake, admitted: Collection[str]) -> str:
        """Store the clips of this import whose sounds came in; return the object's id."""
        kept = sorted((state, sound) for state, sound in self._seen.items() if sound in admitted)
        columns = [[each[at] for each in kept] for at in range(len(_SCHEMA))]
        return put_table(lake, pa.table(columns, schema=_SCHEMA))
