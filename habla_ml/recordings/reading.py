"""Reading the changed sessions of a day, while Habla's clean-up may be deleting them.

A segment is read whole or not at all. A session that goes away while it is read leaves what was read of it, is
reported, and is not noted as read, so that it is read again should it come back.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from habla_ml.audio import decode_wav, encode_flac, measure, pcm_sha256
from habla_ml.errors import InputError
from habla_ml.lake import Lake
from habla_ml.recordings.changes import noted_input
from habla_ml.recordings.metadata import SegmentHint, SessionHints, read_hints
from habla_ml.recordings.segments import HABLA, Segment, segment_id
from habla_ml.recordings.sessions import (
    METADATA,
    RAW_STREAM,
    SessionFile,
    SessionFolder,
    SetAside,
    open_plain_file,
    read_plain_file,
)
from habla_ml.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Decode = Callable[[bytes, float], NDArray[np.int16]]
    """A file's bytes and the longest duration in seconds → 16 kHz mono 16-bit samples."""

# 30 s of 8-channel double at 48 kHz is 92 MB; no segment is larger.
_MOST_AUDIO_BYTES: Final = 128 << 20
# A day of Opus at its highest rate, 510 kbit/s.
_MOST_STREAM_BYTES: Final = 6 << 30


@dataclass
class DayReading:
    """Reading the changed sessions of a day; what it holds is complete once `segments` is exhausted."""

    sessions: list[SessionFolder]
    """Sorted by name."""
    lake: Lake
    """Where raw streams are archived."""
    settings: Settings
    now: datetime
    inputs: dict[str, str] = field(default_factory=dict)
    """What the pointer is to note of each session that stood until it was read."""
    set_aside: list[SetAside] = field(default_factory=list)
    raw_streams: dict[str, str] = field(default_factory=dict)
    """Session → object id of its archived stream."""
    refused: Callable[[Segment], str | None] = lambda _: None
    """Why a segment may not be taken, for want of consent."""
    hints: dict[str, SessionHints] = field(init=False)

    def __post_init__(self) -> None:
        self.hints = {each.name: read_hints(each, self.settings.zone) for each in self.sessions}

    @property
    def english(self) -> list[str]:
        """Sessions that are no corpus material."""
        return [name for name, each in self.hints.items() if each.english]

    def segments(self) -> Iterator[Segment]:
        """The rows of all sessions in order; what cannot be read is set aside on the way."""
        for session in self.sessions:
            said = self.hints[session.name]
            self.set_aside += said.problems
            if said.english:
                self._put_aside(session, "", "is spoken in English (en_to_es): no corpus material")
                self.inputs[session.name] = noted_input(session, self.settings, self.now)
                continue
            gone = [METADATA] if session.listed(METADATA) and _is_gone(session, METADATA) else []
            taken, withheld = 0, False
            for file in session.files:
                if file.name.endswith(".wav") and file.number is None:
                    self._put_aside(session, file.name, "is not named segment_<number>.wav")
            for file in session.segments:
                try:
                    segment = _read(session, file, said, self.settings)
                except InputError as error:
                    if _is_gone(session, file.name):
                        gone.append(file.name)
                    else:
                        self._put_aside(session, file.name, str(error))
                    continue
                if reason := self.refused(segment):
                    withheld = True
                    self._put_aside(session, file.name, reason)
                    continue
                taken += 1
                yield segment
            # A stream cannot be had without the voice that is withheld.
            if not withheld and session.listed(RAW_STREAM) and not self._archive(session):
                gone.append(RAW_STREAM)
            if gone:
                reason = (
                    f"was deleted while it was read: {', '.join(gone[:3])}{' …' * (len(gone) > 3)} went away; "
                )
                self._put_aside(session, "", f"{reason}{taken} segments were taken, what was here before stays")
            else:
                self.inputs[session.name] = noted_input(session, self.settings, self.now)

    def _put_aside(self, session: SessionFolder, file: str, reason: str) -> None:
        self.set_aside.append(SetAside(session.name, file, reason))

    def _archive(self, session: SessionFolder) -> bool:
        """Publish the session's raw stream; False where it is gone."""
        try:
            source = open_plain_file(session.path / RAW_STREAM, _MOST_STREAM_BYTES)
        except InputError as error:
            if _is_gone(session, RAW_STREAM):
                return False
            self._put_aside(session, RAW_STREAM, str(error))
            return True
        # Copied first: the open file outlives its deletion, and the lake reads a file twice.
        with source, tempfile.NamedTemporaryFile(dir=self.settings.work_folder, prefix="stream-") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
            copy.flush()
            self.raw_streams[session.name] = self.lake.put_file(Path(copy.name))
        return True


def read_segment(
    path: Path,
    source: str,
    session_id: str,
    day: str,
    number: int,
    hint: SegmentHint,
    direction: str | None,
    longest_s: float,
    decode: Decode = decode_wav,
) -> Segment:
    """Read, measure and encode one audio file; `decode` says which kinds are taken.

    Raises:
        InputError: why the file cannot be used.
    """
    pcm = decode(read_plain_file(path, _MOST_AUDIO_BYTES), longest_s)
    measured = measure(pcm)
    return Segment(
        segment_id=segment_id(source, session_id, path.name),
        source=source,
        session_id=session_id,
        day=day,
        file_name=path.name,
        number=number,
        recorded_at=hint.recorded_at,
        audio=encode_flac(pcm),
        audio_sha256=pcm_sha256(pcm),
        duration_s=measured.duration_s,
        loudness_dbfs=measured.loudness_dbfs,
        peak_dbfs=measured.peak_dbfs,
        clipped_share=measured.clipped_share,
        speaker=hint.speaker,
        direction=direction,
        machine_text=hint.text,
        machine_confidence=hint.confidence,
        asr_status=hint.asr_status,
    )


def _read(session: SessionFolder, file: SessionFile, said: SessionHints, settings: Settings) -> Segment:
    return read_segment(
        session.path / file.name,
        HABLA,
        session.name,
        session.day,
        file.number or 0,
        said.by_file.get(file.name, SegmentHint()),
        said.direction,
        settings.recordings.longest_segment_s,
    )


def _is_gone(session: SessionFolder, name: str) -> bool:
    return not os.path.lexists(session.path / name)
