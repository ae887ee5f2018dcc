"""WAV bytes to 16 kHz mono samples, or a reason why the file cannot be used.

libsndfile decodes a cut-off WAV partially without an error, so the RIFF chunks are parsed here and libsndfile gets only
the format and the samples. A file is whole if its `data` chunk is. What follows that chunk does not matter, unless it
is more sound: zeros up to a sector, stray bytes, an ID3v1 tag, a LIST chunk that is cut off or not padded.

A program that writes to a pipe cannot return to the header, so it leaves a placeholder as the size of `data`:

| size of `data` | samples |
|---|---|
| 0x7FFFF000…0x80000000, 0xFFFFFF00…0xFFFFFFFF | up to the end of RIFF if that size is real, otherwise of the file |
| 0, the size of RIFF is a placeholder or 0 too | the same |
| larger than the file, but no placeholder | none: the file is cut off |
| 0 before samples, the size of RIFF is real | none: its writer was stopped |

RF64 and BW64 have the sizes in a `ds64` chunk (EBU Tech 3306, ITU-R BS.2088). A real `data` chunk near 2 or 4 GiB in
RIFF would be taken for a placeholder; no file of that size is read.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from habla_ml.audio.decode import SAMPLE_RATE, check_format, check_level, mix_channels, quantise, resample
from habla_ml.errors import InputError
from habla_ml.lfs_pointer import LFS_FAULT, is_lfs_pointer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# Uncompressed formats and the two telephony laws.
_FORMAT_TAGS: Final = {0x0001: "PCM", 0x0003: "float", 0x0006: "A-law", 0x0007: "µ-law", 0xFFFE: "extensible"}
_MAGIC: Final = (b"RIFF", b"RF64", b"BW64")
_ID3V1_BYTES: Final = 128


@dataclass(frozen=True)
class _Format:
    """A valid `fmt ` chunk."""

    chunk: bytes
    tag: int
    channels: int
    sample_rate_hz: int
    bytes_per_frame: int
    bits_per_sample: int

    @property
    def is_lake_format(self) -> bool:
        """Whether the samples are 16 kHz mono 16-bit integers, as Habla writes them."""
        form = (self.tag, self.channels, self.sample_rate_hz, self.bytes_per_frame, self.bits_per_sample)
        return form == (1, 1, SAMPLE_RATE, 2, 16)


def is_wav(data: bytes) -> bool:
    """Return whether the bytes start as a WAV file in RIFF, RF64 or BW64."""
    return data[:4] in _MAGIC and data[8:12] == b"WAVE"


def decode_wav(data: bytes, max_duration_s: float) -> NDArray[np.int16]:
    """Decode a WAV file to 16 kHz mono 16-bit samples, shape [n_samples].

    Reads 8, 16, 24 and 32-bit integers, floats and the telephony laws at any rate. Channels are averaged, other rates
    are resampled with soxr. Samples of the lake's format are returned as a view of `data`.

    Raises:
        InputError: The file is no WAV, cut off, empty, longer than `max_duration_s`, or has samples that are not finite
            or far beyond full scale.
    """
    form, start, size = _find_samples(data)
    frames = size // form.bytes_per_frame
    if not frames:
        raise InputError("holds no sound (0 frames)")
    duration_s = frames / form.sample_rate_hz
    if duration_s > max_duration_s:
        raise InputError(f"lasts {duration_s:.1f} s, more than the {max_duration_s:g} s allowed; split it")
    if form.is_lake_format:
        return np.frombuffer(data, "<i2", frames, start)
    import soundfile

    samples = memoryview(data)[start : start + frames * form.bytes_per_frame]
    try:
        decoded, _ = soundfile.read(io.BytesIO(_make_wav(form, samples)), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise InputError(f"cannot be decoded as WAV: {error.error_string}") from error
    if len(decoded) != frames:
        raise InputError(f"declares {frames} frames, but {len(decoded)} can be decoded; export it again")
    check_level(decoded)
    first: NDArray[np.float32] = decoded[:, 0]
    mono = first if form.channels == 1 else mix_channels(decoded.mean(axis=1), first)
    return quantise(resample(mono, form.sample_rate_hz))


def _find_samples(data: bytes) -> tuple[_Format, int, int]:
    """Return the format, and the position and size in bytes of the samples; raise `InputError` if one is missing."""
    if not data:
        raise InputError("is empty (0 bytes)")
    if not is_wav(data):
        if is_lfs_pointer(data):
            raise InputError(LFS_FAULT)
        raise InputError(f"is no WAV file: it starts with {data[:12]!r}, not with RIFF…WAVE")
    form: _Format | None = None
    riff_size = struct.unpack_from("<I", data, 4)[0]
    wide_size: int | None = None
    for name, start, declared in _list_chunks(data):
        present = len(data) - start
        if name == b"data":
            if form is None:
                break
            size = declared if wide_size is None or declared != 0xFFFFFFFF else wide_size
            size = _resolve_size(data, start, size, riff_size)
            _refuse_second_recording(data, start + size + size % 2)
            return form, start, size
        if declared > present:
            raise _make_cut_error(name, declared, present)
        if name == b"fmt " and form is None:
            form = _parse_format(data[start : start + declared])
        elif name == b"ds64" and declared >= 24:
            riff_size, wide_size = struct.unpack_from("<QQ", data, start)
    raise InputError(f"is cut off or no WAV file: it has no {'fmt' if form is None else 'data'} chunk before its end")


def _list_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, position of the content, and declared size of each chunk."""
    at = 12
    while len(data) - at >= 8:
        name, declared = struct.unpack_from("<4sI", data, at)
        yield name, at + 8, declared
        at += 8 + declared + declared % 2
    if at < len(data):
        raise InputError(f"is cut off: {len(data) - at} bytes after byte {at} are no complete chunk")


def _resolve_size(data: bytes, start: int, declared: int, riff_size: int) -> int:
    """Return the size of the samples in bytes; raise `InputError` if some of them are missing."""
    present = len(data) - start
    if not (_is_placeholder(declared) or (declared == 0 and (riff_size == 0 or _is_placeholder(riff_size)))):
        if declared > present or declared == 0 < present:
            raise _make_cut_error(b"data", declared, present)
        return declared
    # Its size before the samples is a placeholder too: 0xFFFFFFFF plus 36 is 35 in 32 bits.
    if 8 + riff_size > start and not _is_placeholder(riff_size):
        if 8 + riff_size > len(data):
            raise _make_cut_error(b"RIFF", riff_size, len(data) - 8)
        return 8 + riff_size - start
    # Only here a tag at the end would become sound.
    has_tag = present >= _ID3V1_BYTES and data[-_ID3V1_BYTES:].startswith(b"TAG")
    return present - _ID3V1_BYTES * has_tag


def _refuse_second_recording(data: bytes, end: int) -> None:
    """Raise `InputError` if more sound follows the samples: the text of such a clip is of both parts."""
    is_second_file = data[end : end + 4] in _MAGIC and is_wav(data[end : end + 12])
    if is_second_file or (data.startswith(b"data", end) and len(data) - end > 8):
        raise InputError(f"holds a second recording after byte {end}; split it into two files")


def _is_placeholder(size: int) -> bool:
    """Return whether a program writes this size, of `data` or RIFF, for a length that it does not know.

    FFmpeg writes 0xFFFFFFFF, SoX 0x7FFFF000, arecord 0x7FFFFFFF or 0x80000000, some of them minus or plus the header.
    """
    return 0x7FFFF000 <= size <= 0x80000100 or 0xFFFFFF00 <= size <= 0xFFFFFFFF or size > 1 << 62


def _make_cut_error(name: bytes, declared: int, present: int) -> InputError:
    label = name.decode("ascii", "backslashreplace")
    return InputError(f"is cut off: its header declares {declared} bytes of {label!r}, the file holds {present}")


def _parse_format(chunk: bytes) -> _Format:
    """Parse the content of a `fmt ` chunk; raise `InputError` if it is not valid."""
    if len(chunk) < 16:
        raise InputError(f"has a fmt chunk of {len(chunk)} bytes, at least 16 are needed")
    tag, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag not in _FORMAT_TAGS:
        raise InputError(f"holds the WAV format 0x{tag:04x}; expected {', '.join(_FORMAT_TAGS.values())}")
    check_format(channels, rate)
    if block != channels * -(-bits // 8) or not block:
        raise InputError(f"declares {block} bytes a frame for {channels} channels of {bits} bits; export it again")
    return _Format(chunk, tag, channels, rate, block, bits)


def _make_wav(form: _Format, samples: memoryview) -> bytes:
    """Return a WAV file with only these samples."""
    pad = bytes(len(samples) % 2)
    fmt = struct.pack("<4sI", b"fmt ", len(form.chunk)) + form.chunk + bytes(len(form.chunk) % 2)
    size = 4 + len(fmt) + 8 + len(samples) + len(pad)
    header = struct.pack("<4sI4s", b"RIFF", size, b"WAVE") + fmt + struct.pack("<4sI", b"data", len(samples))
    return b"".join((header, samples, pad))
