"""Check that FFmpeg decodes the whole of an Ogg, CAF or MP4 file, since it decodes a part without an error.

Android's recorder does not set the end-of-stream flag of Ogg, so a file without it is whole if it ends with a complete
page and a complete packet. A file that lost whole pages at its end has no other trace of it.
"""

from __future__ import annotations

import struct
from typing import Final

from habla_ml.errors import InputError

_OGG_PAGE: Final = struct.Struct("<4sBBqIIIB")
_IS_FIRST: Final = 0x02
_IS_LAST: Final = 0x04
_MP4_BOX: Final = struct.Struct(">I4s")
_MP4_LONG_BOX: Final = struct.Struct(">I4sQ")
_CAF_CHUNK: Final = struct.Struct(">4sq")
_CAF_HEADER_BYTES: Final = 8


def check_ogg_pages(data: bytes) -> None:
    """Raise `InputError` if a page is missing or cut off, or the last packet is not complete.

    Page layout: RFC 3533, section 6. Bytes after a page with the end-of-stream flag, such as an ID3v1 tag, are ignored.
    """
    at, flags, table = 0, 0, b""
    next_page: dict[int, int] = {}
    while data.startswith(b"OggS", at):
        if len(data) - at < _OGG_PAGE.size:
            raise InputError("is cut off: the header of its last Ogg page is not complete")
        _, _, flags, _, serial, number, _, segments = _OGG_PAGE.unpack_from(data, at)
        table = data[at + _OGG_PAGE.size : at + _OGG_PAGE.size + segments]
        at += _OGG_PAGE.size + segments + sum(table)
        if len(table) < segments or at > len(data):
            raise InputError(f"is cut off: its last Ogg page ends {at - len(data)} bytes after the file")
        if flags & _IS_FIRST:  # a second recording in one file can have the serial number of the first
            next_page.pop(serial, None)
        if number != next_page.setdefault(serial, number):
            raise InputError(f"is damaged or cut off: Ogg page {next_page[serial]} is missing, {number} follows")
        next_page[serial] = number + 1
    if flags & _IS_LAST:
        return
    if at < len(data):
        raise InputError(f"is damaged or cut off: {len(data) - at} bytes after byte {at} are no Ogg page")
    if table[-1:] == b"\xff":
        raise InputError("is cut off: its last Ogg page ends within a packet")


def check_caf_chunks(data: bytes) -> None:
    """Raise `InputError` if a chunk is cut off.

    The size of the last chunk can be −1: up to the end of the file (Apple Core Audio Format Specification 1.0).
    """
    at = _CAF_HEADER_BYTES
    while len(data) - at >= _CAF_CHUNK.size:
        name, size = _CAF_CHUNK.unpack_from(data, at)
        if size == -1:
            return
        present = len(data) - at - _CAF_CHUNK.size
        if not 0 <= size <= present:
            label = name.decode("ascii", "backslashreplace")
            raise InputError(f"is cut off: it declares {size} bytes of {label!r}, the file holds {present}")
        at += _CAF_CHUNK.size + size


def check_mp4_boxes(data: bytes) -> None:
    """Raise `InputError` if a second recording follows the first: FFmpeg would read one of the two only.

    Box layout: ISO/IEC 14496-12, section 4.2. A fragmented recording has one `moov` too.
    """
    at, indexes = 0, 0
    while len(data) - at >= _MP4_BOX.size:
        size, name = _MP4_BOX.unpack_from(data, at)
        indexes += name == b"moov"
        if indexes > 1:
            raise InputError(f"holds a second recording, with its index at byte {at}; split it into two files")
        if size == 1 and len(data) - at >= _MP4_LONG_BOX.size:
            size = _MP4_LONG_BOX.unpack_from(data, at)[2]
        if size < _MP4_BOX.size:  # 0: up to the end of the file
            return
        at += size
