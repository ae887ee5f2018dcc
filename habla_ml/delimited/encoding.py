"""The encoding of a text file that people saved: UTF-8, UTF-16, or a code page of Western Europe.

A byte order mark decides. Without one, NUL bytes at every second place mean UTF-16. A file that is not UTF-8 is either
UTF-8 with damaged bytes or in a code page: accented letters that are valid UTF-8 decide, since a code page almost never
forms them by chance.

A spreadsheet saves "CSV" in Windows-1252, "CSV (Macintosh)" in Mac Roman and "CSV (MS-DOS)" in code page 850. Nearly every
byte has a meaning in all three, so the one with the most letters of Spanish is taken.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from habla_ml.errors import InputError

_CHUNK_BYTES: Final = 1 << 20
_SAMPLE_BYTES: Final = 4096
_MARKS: Final = (
    # The mark of UTF-32 begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WINDOWS: Final = "cp1252"
_CODE_PAGES: Final = (_WINDOWS, "mac_roman", "cp850")
_LABELS: Final = {_WINDOWS: "Windows-1252", "mac_roman": "Mac Roman", "cp850": "MS-DOS code page 850"}
_SPANISH: Final = "áéíóúüñÁÉÍÓÚÜÑ¿¡"
_SPANISH_BYTES: Final = {each: _SPANISH.encode(each) for each in _CODE_PAGES}
_WORKBOOKS: Final = {b"PK\x03\x04": "an Excel or OpenDocument workbook", b"\xd0\xcf\x11\xe0": "an old Excel workbook"}
_DAMAGED: Final = re.compile("[\udc80-\udcff]")
"""A byte that is not UTF-8, as the error handler `surrogateescape` represents it."""
_ACCENTED: Final = re.compile("[^\x00-\x7f\udc80-\udcff]")
_SHARE_OF_NULS: Final = 0.4


@dataclass(frozen=True)
class TextEncoding:
    """How to decode a file."""

    codec: str
    is_guessed: bool = False
    """Whether neither a mark nor valid UTF-8 proves it."""

    @property
    def label(self) -> str:
        """The name that people know."""
        return _LABELS.get(self.codec, self.codec.upper().removesuffix("-SIG"))

    @property
    def is_utf8(self) -> bool:
        """Whether damaged bytes can be found row by row."""
        return self.codec.startswith("utf-8")

    @property
    def errors(self) -> str:
        """The error handler: damaged bytes of UTF-8 become characters that `has_damage` finds."""
        return "surrogateescape" if self.is_utf8 else "strict"


def detect_encoding(file: BinaryIO) -> TextEncoding:
    """Return the encoding of a whole seekable file, and leave the file at its start.

    Raises:
        InputError: The file has no encoding that is known here. The message has the byte, its offset and the next step.
    """
    start = _rewind(file).read(_SAMPLE_BYTES)
    if (workbook := _WORKBOOKS.get(start[:4])) is not None:
        raise InputError(f"is {workbook} and no text; open it in a spreadsheet and save it as CSV UTF-8")
    marked = next((TextEncoding(codec) for mark, codec in _MARKS if start.startswith(mark)), None)
    found = marked or _guess_utf16(start)
    if found is not None and not found.is_utf8:
        _check_decodes(file, found)
    elif _find_fault(file, "utf-8") is None:
        found = found or TextEncoding("utf-8")
    elif found is None and not _is_damaged_utf8(file):
        found = TextEncoding(_guess_code_page(file), is_guessed=True)
        _check_decodes(file, found)
    _rewind(file)
    return found or TextEncoding("utf-8")


def decode_text(data: bytes) -> str:
    """Decode a whole file.

    Raises:
        InputError: Some byte is in no encoding that is known here, or damaged.
    """
    encoding = detect_encoding(io.BytesIO(data))
    if encoding.is_utf8:
        _check_decodes(io.BytesIO(data), encoding)
    return data.decode(encoding.codec)


def read_text_lines(path: Path) -> list[str]:
    """Return the lines of a small text file that a person saved, in any encoding that is known here.

    Raises:
        InputError: The file cannot be read or decoded; the message starts with its path.
    """
    try:
        return decode_text(path.read_bytes()).splitlines()
    except (InputError, OSError) as error:
        reason = error if isinstance(error, InputError) else f"cannot be read: {error.strerror}"
        raise InputError(f"{path} {reason}") from error


def has_damage(text: str) -> bool:
    """Return whether text that was decoded here has bytes that are not UTF-8."""
    return _DAMAGED.search(text) is not None


def _guess_utf16(start: bytes) -> TextEncoding | None:
    half = max(1, len(start) // 2)
    even, odd = start[::2].count(0) / half, start[1::2].count(0) / half
    if odd > _SHARE_OF_NULS > 4 * even:
        return TextEncoding("utf-16-le", is_guessed=True)
    return TextEncoding("utf-16-be", is_guessed=True) if even > _SHARE_OF_NULS > 4 * odd else None


def _guess_code_page(file: BinaryIO) -> str:
    """Return the code page in which the file has the most letters of Spanish; Windows-1252 of equal ones."""
    counts = dict.fromkeys(_CODE_PAGES, 0)
    for chunk in _read_chunks(file):
        for codec, letters in _SPANISH_BYTES.items():
            counts[codec] += len(chunk) - len(chunk.translate(None, letters))
    return max(_CODE_PAGES, key=counts.__getitem__)


def _is_damaged_utf8(file: BinaryIO) -> bool:
    """Return whether a file with bytes that are not UTF-8 has at least as many accented letters in UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    accented = damaged = 0
    for chunk in _read_chunks(file):
        text = decoder.decode(chunk)
        accented += len(_ACCENTED.findall(text))
        damaged += len(_DAMAGED.findall(text))
    return accented >= damaged


def _check_decodes(file: BinaryIO, encoding: TextEncoding) -> None:
    offset = _find_fault(file, encoding.codec)
    if offset is not None:
        file.seek(offset)
        byte = file.read(1).hex()
        what = f"is not {encoding.label}" if encoding.codec != _WINDOWS else "is neither UTF-8 nor Windows-1252"
        raise InputError(
            f"{what}: byte {offset} (counted from 0) is 0x{byte}; open it in a spreadsheet or editor and save it as UTF-8"
        )


def _find_fault(file: BinaryIO, codec: str) -> int | None:
    """Return the offset of the first byte that cannot be decoded, or None."""
    decoder, end = codecs.getincrementaldecoder(codec)(), 0
    for chunk in _read_chunks(file):
        waiting = len(decoder.getstate()[0])
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError as error:
            return end - waiting + error.start
        end += len(chunk)
    waiting = len(decoder.getstate()[0])
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return end - waiting
    return None


def _read_chunks(file: BinaryIO) -> Iterator[bytes]:
    _rewind(file)
    return iter(lambda: file.read(_CHUNK_BYTES), b"")


def _rewind(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file
