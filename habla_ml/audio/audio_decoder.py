"""Decoding of other formats than WAV (m4a, Opus, Vorbis, MP3, FLAC, WebM, AIFF, CAF) with FFmpeg, in a child process.

The container is detected from the first bytes and fixed for the demuxer, and FFmpeg gets bytes, never a path: an HLS
playlist named `clip.m4a` would make it open other files. A few megabytes can hold hours of audio, so duration,
samples, memory, processor and wall time are bounded. A crash of FFmpeg ends only the child.

The child is `python -m habla_ml.audio`. It reads requests from standard input and writes responses to standard output,
both as `_MESSAGE_HEADER` (a number and a length) and that many bytes.
"""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING, Final, Self

import numpy as np

from habla_ml.audio.wav import decode_wav, is_wav
from habla_ml.errors import InputError
from habla_ml.lfs_pointer import LFS_FAULT, is_lfs_pointer

if TYPE_CHECKING:
    from numpy.typing import NDArray

DECODED: Final = 0.0
REFUSED: Final = 1.0

_MAGIC: Final = {
    b"fLaC": "flac",
    b"OggS": "ogg",
    b"\x1aE\xdf\xa3": "matroska",
    b"caff": "caf",
}
_MESSAGE_HEADER: Final = struct.Struct("<dQ")
_WALL_LIMIT_S: Final = 30.0
_MAX_DECODED_BYTES: Final = 1 << 30


def detect_container(data: bytes) -> str:
    """Return FFmpeg's name of the container: a value of `_MAGIC`, wav, aiff, mp4, mp3 or aac.

    Raises:
        InputError: The first bytes show none of them.
    """
    if is_wav(data):
        return "wav"
    if is_lfs_pointer(data):
        raise InputError(LFS_FAULT)
    start = data[_measure_id3v2_tag(data) :][:12]
    for magic, name in _MAGIC.items():
        if start.startswith(magic):
            return name
    if start[4:8] == b"ftyp":
        return "mp4"
    if start[:4] == b"FORM" and start[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    # An MPEG frame starts with eleven set bits; the two layer bits after the version are 0 in ADTS (AAC) only.
    if len(start) > 3 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0:
        return "aac" if start[1] & 0xF6 == 0xF0 else "mp3"
    if data.startswith(b"ID3"):
        return "mp3"
    if not data:
        raise InputError("is empty (0 bytes)")
    raise InputError(
        f"is no audio of a known kind: it starts with {data[:12]!r}; "
        "expected WAV, AIFF, CAF, FLAC, Ogg (Opus, Vorbis), WebM, MP4 (m4a), MP3 or AAC"
    )


def _measure_id3v2_tag(data: bytes) -> int:
    """Return the size in bytes of the ID3v2 tag before the audio, 0 for none (ID3v2.4 section 3.1)."""
    if len(data) < 10 or not data.startswith(b"ID3"):
        return 0
    has_footer = bool(data[5] & 0x10)
    return 10 + 10 * has_footer + sum((data[6 + at] & 0x7F) << (7 * (3 - at)) for at in range(4))


class AudioDecoder:
    """Decodes audio files of any known format. The child process runs from the first file that is no WAV until `close`.

    Use it from one thread at a time.
    """

    def __init__(self, wall_limit_s: float = _WALL_LIMIT_S) -> None:
        self._wall_limit_s = wall_limit_s
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the child; None where none runs."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def decode(self, data: bytes, max_duration_s: float) -> NDArray[np.int16]:
        """Decode a file to 16 kHz mono 16-bit samples, shape [n_samples].

        Raises:
            InputError: The file is of no known format, cut off, damaged, empty, longer than `max_duration_s`, or needs
                more time or memory than allowed.
        """
        if detect_container(data) == "wav":
            return decode_wav(data, max_duration_s)
        kind, answer = self._send_request(max_duration_s, data)
        if kind == REFUSED:
            raise InputError(answer.decode())
        return np.frombuffer(answer, dtype="<i2")

    def close(self) -> None:
        """End the child process."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _send_request(self, max_duration_s: float, data: bytes) -> tuple[float, bytes]:
        child = self._ensure_child()
        if child.stdin is None or child.stdout is None:
            raise InputError("cannot be decoded: the decoder has no pipes; run again")
        # Killing a child that hangs, also before it reads, closes both pipes.
        late = threading.Event()
        timer = threading.Timer(self._wall_limit_s, _kill_late_child, (child, late))
        timer.start()
        try:
            write_message(child.stdin, max_duration_s, data)
            answer = read_message(child.stdout, _MAX_DECODED_BYTES)
        except BrokenPipeError:
            answer = None
        finally:
            timer.cancel()
        if answer is not None and not late.is_set():
            return answer
        status = child.wait()
        self.close()
        if late.is_set():
            raise InputError(f"takes longer than {self._wall_limit_s:g} s to decode; convert it to WAV")
        why = "needs too much processor time" if status == -signal.SIGXCPU else f"ends the decoder (status {status})"
        raise InputError(f"cannot be decoded: it {why}; convert it to WAV")

    def _ensure_child(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is not None:
            self.close()
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "habla_ml.audio", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        return self._child


def _kill_late_child(child: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    child.kill()


def write_message(out: IO[bytes], number: float, body: bytes) -> None:
    """Write one message to the other process."""
    out.write(_MESSAGE_HEADER.pack(number, len(body)))
    out.write(body)
    out.flush()


def read_message(source: IO[bytes], most_bytes: int) -> tuple[float, bytes] | None:
    """Return the next message; None where the other process ended, or sends more than `most_bytes`."""
    header = source.read(_MESSAGE_HEADER.size)
    if len(header) < _MESSAGE_HEADER.size:
        return None
    number, size = _MESSAGE_HEADER.unpack(header)
    if size > most_bytes:
        return None
    body = source.read(size)
    return (number, body) if len(body) == size else None
