"""Read manual alignments: the start and end of each word of a clip.

Three formats are supported, with times in seconds from the start of the clip:

- `.csv` with the columns `segment_id,word,start_s,end_s`; other columns are ignored; rows of a clip in order;
- `.ctm` (NIST): `<clip> <channel> <start> <duration> <word> [confidence]`; `;;` starts a comment;
- `<clip>.TextGrid` (Praat) with a tier `words`, as the Montreal Forced Aligner writes it, or with a single tier.

A clip is named by its segment id or by the sha256 of its 16 kHz PCM.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from habla_ml.delimited.encoding import read_text_lines
from habla_ml.delimited.table import open_delimited
from habla_ml.errors import EvaluationError, InputError
from habla_ml.transcription.engine import RecognisedWord

Alignments = Mapping[str, tuple[RecognisedWord, ...]]
"""Segment id or sha256 of the audio → the words of the clip, in order."""

ALIGNMENT_COLUMNS: Final = ("segment_id", "word", "start_s", "end_s")
_Row = tuple[int, str | None, str | None, float, float]
"""Row number, clip, word, start in s, end in s."""


def read_alignments(path: Path) -> Alignments:
    """Read the manual alignments of a file, or of all supported files in a folder.

    Raises:
        InputError: There is nothing to read, a row is invalid, or two files align the same clip. The message has file
            and row.
        EvaluationError: A TextGrid needs a package that is not installed.
    """
    files = [path]
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.suffix.lower() in _READERS)
    if not files or not path.exists() or any(each.suffix.lower() not in _READERS for each in files):
        raise InputError(f"{path} has no manual alignments; expected .csv, .ctm or .TextGrid")
    found: dict[str, tuple[RecognisedWord, ...]] = {}
    for file in files:
        clips: dict[str, list[RecognisedWord]] = {}
        for row in _READERS[file.suffix.lower()](file):
            _append_word(clips, file, row)
        if repeated := found.keys() & clips.keys():
            raise InputError(f"{file} aligns clip {min(repeated)}, which another file aligns too; keep one of them")
        found.update({clip: tuple(words) for clip, words in clips.items()})
    return found


def get_marked_words(alignments: Alignments, segment_id: str, audio_sha256: str) -> tuple[RecognisedWord, ...] | None:
    """Return the words of a clip by its id or its audio; None without an alignment."""
    return alignments.get(segment_id) or alignments.get(audio_sha256)


def write_alignments(path: Path, alignments: Alignments) -> None:
    """Write a CSV that `read_alignments` reads, with times in whole milliseconds."""
    with path.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(ALIGNMENT_COLUMNS)
        for clip, words in alignments.items():
            rows.writerows((clip, each.text, f"{each.start_s:.3f}", f"{each.end_s:.3f}") for each in words)


def _read_csv(file: Path) -> Iterator[_Row]:
    with file.open("rb") as opened:
        try:
            table = open_delimited(opened, [ALIGNMENT_COLUMNS])
        except InputError as error:
            raise InputError(f"{file} {error}; expected {','.join(ALIGNMENT_COLUMNS)}") from error
        for row in table:
            if row.problem:
                raise InputError(f"{file}, row {row.line} {row.problem}")
            clip, word, start, end = (row.values.get(name) for name in ALIGNMENT_COLUMNS)
            yield row.line, clip, word, *_parse_seconds(file, row.line, start, end)


def _read_ctm(file: Path) -> Iterator[_Row]:
    for number, line in enumerate(read_text_lines(file), start=1):
        fields = line.split()
        if not fields or line.startswith(";;"):
            continue
        if len(fields) not in (5, 6):
            raise InputError(f"{file}, line {number} has {len(fields)} fields; a CTM line has 5 or 6")
        start_s, duration_s = _parse_seconds(file, number, fields[2], fields[3])
        yield number, fields[0], fields[4], start_s, start_s + duration_s


def _read_textgrid(file: Path) -> Iterator[_Row]:
    try:
        from praatio import textgrid
    except ImportError as error:
        raise EvaluationError(
            f"{file} needs the TextGrid reader praatio, which is not installed; run pip install 'habla-ml[alignment]'"
        ) from error
    try:
        grid = textgrid.openTextgrid(str(file), includeEmptyIntervals=False)
    except Exception as error:  # praatio raises many types for invalid files
        raise InputError(f"{file} cannot be read as a TextGrid: {error}") from error
    names = list(grid.tierNames)
    name = "words" if "words" in names else names[0] if len(names) == 1 else None
    if name is None:
        raise InputError(f"{file} has the tiers {', '.join(names)}; name the one with the words `words`")
    for number, (start_s, end_s, label) in enumerate(grid.getTier(name).entries, start=1):
        yield number, file.stem, label, start_s, end_s


_READERS: Final[dict[str, Callable[[Path], Iterator[_Row]]]] = {
    ".csv": _read_csv,
    ".ctm": _read_ctm,
    ".textgrid": _read_textgrid,
}


def _parse_seconds(file: Path, number: int, first: str | None, second: str | None) -> tuple[float, float]:
    try:
        # A spreadsheet in Spanish writes a comma before the fraction.
        return float((first or "").replace(",", ".")), float((second or "").replace(",", "."))
    except ValueError:
        raise InputError(f"{file}, row {number} has the times {first!r} and {second!r}; expected seconds") from None


def _append_word(clips: dict[str, list[RecognisedWord]], file: Path, row: _Row) -> None:
    number, clip, text, start_s, end_s = row
    word = RecognisedWord((text or "").strip(), start_s, end_s)
    if not clip or not word.text:
        missing = "word" if clip else "clip"
        raise InputError(f"{file}, row {number} has no {missing}; expected {','.join(ALIGNMENT_COLUMNS)}")
    earlier = clips.setdefault(clip, [])
    if not 0 <= start_s <= end_s < math.inf or (earlier and start_s < earlier[-1].start_s):
        raise InputError(
            f"{file}, row {number}: {word.text!r} from {start_s:g} to {end_s:g} s ends before it starts, or starts "
            "before the previous word; write times in seconds from the start of the clip"
        )
    earlier.append(word)
