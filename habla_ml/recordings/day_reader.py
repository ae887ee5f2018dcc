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
from habla_ml.recordings.change_detection import input_signature
from habla_ml.recordings.metadata import SegmentHint, SessionHints, read_hints
from habla_ml.recordings.segments import HABLA_SOURCE, RecordedSegment, segment_id
from habla_ml.recordings.sessions import (
    METADATA_FILE,
    RAW_STREAM_FILE,
    SessionFile,
    SessionFolder,
    Skipped,
    open_plain_file,
    read_plain_file,
)
from habla_ml.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    DecodeAudio = Callable[[bytes, float], NDArray[np.int16]]
    """A file's bytes and the longest duration in seconds → 16 kHz mono 16-bit samples."""

# 30 s of 8-channel double at 48 kHz is 92 MB; no segment is larger.
_MAX_AUDIO_BYTES: Final = 128 << 20
# A day of Opus at its highest rate, 510 kbit/s.
_MAX_STREAM_BYTES: Final = 6 << 30


@dataclass
class DayReader:
    """Reading the changed sessions of a day; what it holds is complete once `segments` is exhausted."""

    sessions: list[SessionFolder]
    """Sorted by name."""
    lake: Lake
    """Where raw streams are archived."""
    settings: Settings
    now: datetime
    inputs: dict[str, str] = field(default_factory=dict)
    """What the pointer is to note of each session that stood until it was read."""
    skipped_inputs: list[Skipped] = field(default_factory=list)
    raw_streams: dict[str, str] = field(default_factory=dict)
    """Session → object id of its archived stream."""
    explain_refusal: Callable[[RecordedSegment], str | None] = lambda _: None
    """Why a segment may not be taken, for want of consent."""
    hints: dict[str, SessionHints] = field(init=False)

    def __post_init__(self) -> None:
        self.hints = {each.name: read_hints(each, self.settings.zone) for each in self.sessions}

    @property
    def english_sessions(self) -> list[str]:
        """Sessions that are no corpus material."""
        return [name for name, each in self.hints.items() if each.is_english]

    def read_segments(self) -> Iterator[RecordedSegment]:
        """The rows of all sessions in order; what cannot be read is set aside on the way."""
        for session in self.sessions:
            said = self.hints[session.name]
            self.skipped_inputs += said.problems
            if said.is_english:
                self._skip(session, "", "is spoken in English (en_to_es): no corpus material")
                self.inputs[session.name] = input_signature(session, self.settings, self.now)
                continue
            gone = (
                [METADATA_FILE] if session.has_file(METADATA_FILE) and _is_deleted(session, METADATA_FILE) else []
            )
            taken, withheld = 0, False
            for file in session.files:
                if file.name.endswith(".wav") and file.number is None:
                    self._skip(session, file.name, "is not named segment_<number>.wav")
            for file in session.segments:
                try:
                    segment = _read_session_segment(session, file, said, self.settings)
                except InputError as error:
                    if _is_deleted(session, file.name):
                        gone.append(file.name)
                    else:
                        self._skip(session, file.name, str(error))
                    continue
                if reason := self.explain_refusal(segment):
                    withheld = True
                    self._skip(session, file.name, reason)
                    continue
                taken += 1
                yield segment
            # A stream cannot be had without the voice that is withheld.
            if not withheld and session.has_file(RAW_STREAM_FILE) and not self._archive_raw_stream(session):
                gone.append(RAW_STREAM_FILE)
            if gone:
                reason = (
                    f"was deleted while it was read: {', '.join(gone[:3])}{' …' * (len(gone) > 3)} went away; "
                )
                self._skip(session, "", f"{reason}{taken} segments were taken, what was here before stays")
            else:
                self.inputs[session.name] = input_signature(session, self.settings, self.now)

    def _skip(self, session: SessionFolder, file: str, reason: str) -> None:
        self.skipped_inputs.append(Skipped(session.name, file, reason))

    def _archive_raw_stream(self, session: SessionFolder) -> bool:
        """Publish the session's raw stream; False where it is gone."""
        try:
            source = open_plain_file(session.path / RAW_STREAM_FILE, _MAX_STREAM_BYTES)
        except InputError as error:
            if _is_deleted(session, RAW_STREAM_FILE):
                return False
            self._skip(session, RAW_STREAM_FILE, str(error))
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
    max_duration_s: float,
    decode: DecodeAudio = decode_wav,
) -> RecordedSegment:
    """Read, measure and encode one audio file; `decode` says which kinds are taken.

    Raises:
        InputError: why the file cannot be used.
    """
    pcm = decode(read_plain_file(path, _MAX_AUDIO_BYTES), max_duration_s)
    measured = measure(pcm)
    return RecordedSegment(
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


def _read_session_segment(
    session: SessionFolder, file: SessionFile, said: SessionHints, settings: Settings
) -> RecordedSegment:
    return read_segment(
        session.path / file.name,
        HABLA_SOURCE,
        session.name,
        session.day,
        file.number or 0,
        said.by_file.get(file.name, SegmentHint()),
        said.direction,
        settings.recordings.longest_segment_s,
    )


def _is_deleted(session: SessionFolder, name: str) -> bool:
    return not os.path.lexists(session.path / name)
