"""Read the changed sessions of a day while Habla's clean-up may be deleting them.

A segment is read completely or not at all. If a session is deleted while it is read, the segments that were read stay
and the deletion is reported. The session's signature is not stored, so that it is read again if it returns.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from habla_ml.consent.admission import Admission
from habla_ml.errors import InputError
from habla_ml.lake import Lake
from habla_ml.lake.lake import compute_sha256
from habla_ml.recordings.change_detection import input_signature
from habla_ml.recordings.days import DayUpdate, RawStream
from habla_ml.recordings.metadata import SegmentHint, SessionHints, read_hints
from habla_ml.recordings.problem_log import ProblemLog
from habla_ml.recordings.segment_audio import (
    EncodedFile,
    EncodeFiles,
    ReadFile,
    SegmentAudio,
    encode_here,
    encode_samples,
)
from habla_ml.recordings.segments import HABLA_SOURCE, RecordedSegment, segment_id
from habla_ml.recordings.sessions import (
    METADATA_FILE,
    RAW_STREAM_FILE,
    SessionFolder,
    Skipped,
    canonical_segment_name,
    open_plain_file,
    read_plain_file,
)
from habla_ml.scratch import make_scratch_folder
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
    """Reads the changed sessions of a day; `update` is complete once `read_segments` is exhausted."""

    sessions: list[SessionFolder]
    """Sorted by name."""
    lake: Lake
    settings: Settings
    now: datetime
    admission: Admission
    archived_streams: Mapping[str, tuple[RawStream, ...]]
    """Session → its streams in the lake."""
    encode: EncodeFiles = encode_here
    update: DayUpdate = field(init=False)
    hints: dict[str, SessionHints] = field(init=False)
    _problems: ProblemLog = field(init=False, default_factory=ProblemLog)

    def __post_init__(self) -> None:
        self.hints = {each.name: read_hints(each, self.settings.zone) for each in self.sessions}
        self.update = DayUpdate(
            dropped=[name for name, each in self.hints.items() if each.is_english],
            withheld=self.admission.withheld,
            consents=self.admission.consents.signature,
        )

    def read_segments(self) -> Iterator[RecordedSegment]:
        """Yield the segments of all sessions in order; skip unreadable files with their reason."""
        encoded = self.encode(self._read_files(), self.settings.recordings.longest_segment_s)
        for session in self.sessions:
            hints = self.hints[session.name]
            self._problems = ProblemLog()
            if hints.is_english:
                self._skip(session, "", "is spoken in English (en_to_es): no corpus material")
                deleted: list[str] = []
            else:
                deleted = yield from self._read_session(session, hints, encoded)
            self.update.skipped_inputs += [*hints.problems, *self._problems.list_problems()]
            if not deleted:
                self.update.inputs[session.name] = input_signature(session, self.settings, self.now)

    def _read_files(self) -> Iterator[ReadFile]:
        """Yield the bytes of all segment files of the sessions to read, in order, or why a file cannot be read."""
        for session in self.sessions:
            for file in () if self.hints[session.name].is_english else session.segments:
                try:
                    yield read_plain_file(session.path / file.name, _MAX_AUDIO_BYTES)
                except InputError as error:
                    yield error

    def _read_session(
        self, session: SessionFolder, hints: SessionHints, encoded: Iterator[EncodedFile]
    ) -> Generator[RecordedSegment, None, list[str]]:
        """Yield the session's segments; return the files that were deleted meanwhile."""
        deleted = [METADATA_FILE] if session.has_file(METADATA_FILE) and _is_deleted(session, METADATA_FILE) else []
        taken, is_withheld, day = 0, False, session.day
        for name, problem in session.list_unread_files():
            self._skip(session, name, problem)
        for file in session.segments:
            audio = next(encoded)
            if isinstance(audio, InputError):
                if _is_deleted(session, file.name):
                    deleted.append(file.name)
                else:
                    self._skip(session, file.name, str(audio))
                continue
            origin = SegmentOrigin(HABLA_SOURCE, session.name, day, file.number or 0)
            hint = hints.by_file.get(file.segment_name, SegmentHint())
            segment = _assemble_segment(audio, origin, file.segment_name, hint, hints.direction)
            if reason := self.admission.explain_refusal(
                segment.session_id, segment.speaker, segment.segment_id, segment.audio_sha256
            ):
                is_withheld = True
                self._skip(session, file.name, reason)
                continue
            taken += 1
            yield segment
        # A raw stream would contain the withheld voice.
        if not is_withheld and session.has_file(RAW_STREAM_FILE) and not self._archive_raw_stream(session):
            deleted.append(RAW_STREAM_FILE)
        if deleted:
            names = f"{', '.join(deleted[:3])}{' …' * (len(deleted) > 3)}"
            remark = f"was deleted while it was read ({names}); {taken} segments were read, earlier segments stay"
            self._skip(session, "", remark)
        return deleted

    def _skip(self, session: SessionFolder, file: str, reason: str) -> None:
        self._problems.append(Skipped(session.name, file, reason))

    def _archive_raw_stream(self, session: SessionFolder) -> bool:
        """Publish the session's raw stream; return False if it was deleted."""
        try:
            source = open_plain_file(session.path / RAW_STREAM_FILE, _MAX_STREAM_BYTES)
        except InputError as error:
            if _is_deleted(session, RAW_STREAM_FILE):
                return False
            self._skip(session, RAW_STREAM_FILE, str(error))
            return True
        # Copied first: an open file survives its deletion, and the lake reads a file twice.
        with source, make_scratch_folder(self.settings.work_folder, "stream") as folder:
            copy = folder / RAW_STREAM_FILE
            with copy.open("wb") as handle:
                shutil.copyfileobj(source, handle, 1 << 20)
            if size_bytes := copy.stat().st_size:  # a second Start has just emptied the file
                archived = self.archived_streams.get(session.name, ())
                stream = RawStream(self.lake.put_file(copy), size_bytes)
                others = [each for each in archived if not _is_start_of(each, copy, size_bytes)]
                self.update.raw_streams[session.name] = (*others, stream)
        return True


@dataclass(frozen=True)
class SegmentOrigin:
    """The place of a segment in a source."""

    source: str
    session_id: str
    day: str
    number: int


def read_segment(
    path: Path, origin: SegmentOrigin, hint: SegmentHint, max_duration_s: float, decode: DecodeAudio
) -> RecordedSegment:
    """Read, measure and encode one audio file; raise `InputError` with the reason if it cannot be used."""
    pcm = decode(read_plain_file(path, _MAX_AUDIO_BYTES), max_duration_s)
    return build_segment(pcm, origin, canonical_segment_name(path.name), hint)


def build_segment(pcm: NDArray[np.int16], origin: SegmentOrigin, file_name: str, hint: SegmentHint) -> RecordedSegment:
    """Measure and encode the 16 kHz mono samples of a segment, shape [n_samples]; raise `InputError` without a sample."""
    return _assemble_segment(encode_samples(pcm), origin, file_name, hint)


def _assemble_segment(
    audio: SegmentAudio, origin: SegmentOrigin, file_name: str, hint: SegmentHint, direction: str | None = None
) -> RecordedSegment:
    return RecordedSegment(
        **vars(origin),
        segment_id=segment_id(origin.source, origin.session_id, file_name),
        file_name=file_name,
        recorded_at=hint.recorded_at,
        audio=audio.flac,
        audio_sha256=audio.sha256,
        **vars(audio.measurements),
        speaker=hint.speaker,
        direction=direction,
        machine_text=hint.text,
        machine_confidence=hint.confidence,
        asr_status=hint.asr_status,
    )


def _is_deleted(session: SessionFolder, name: str) -> bool:
    return not os.path.lexists(session.path / name)


def _is_start_of(stream: RawStream, path: Path, size_bytes: int) -> bool:
    """Return whether the file begins with this stream: the same recording, longer now or complete."""
    if stream.size_bytes is None or stream.size_bytes > size_bytes:
        return stream.object_id == compute_sha256(path)
    digest, left = hashlib.sha256(), stream.size_bytes
    with path.open("rb") as handle:
        while left and (chunk := handle.read(min(left, 1 << 20))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest() == stream.object_id
