"""Where each word of a clip begins and ends, as a person or a phonetician's program marked it.

Three common forms are read, times in seconds from the start of the clip:

- `.csv` (UTF-8) with the columns `segment_id,word,start_s,end_s`, others are ignored; rows of one clip in order;
- `.ctm` (NIST): `<clip> <channel> <start> <duration> <word> [confidence]`, `;;` starts a comment;
- a folder of Praat's `<clip>.TextGrid`, with a tier `words` (as the Montreal Forced Aligner writes it) or a single one.

A clip is named by its segment id or by the sha256 of its 16 kHz PCM.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from habla_ml.errors import EvaluationError, InputError
from habla_ml.transcription.engine import RecognisedWord

Alignments = Mapping[str, tuple[RecognisedWord, ...]]
"""Segment id or sha256 of the audio → the words of the clip, in order."""

ALIGNMENT_COLUMNS: Final = ("segment_id", "word", "start_s", "end_s")
_SUFFIXES: Final = (".csv", ".ctm", ".textgrid")


def read_alignments(path: Path) -> Alignments:
    """The manual alignments of a file, or of all files of those forms in a folder.

    Raises:
        InputError: There is nothing to read, a row makes no sense, or two files align the same clip; the message names
            file and row.
        EvaluationError: A TextGrid needs a package that is not installed.
    """
    files = sorted(each for each in path.iterdir() if each.suffix.lower() in _SUFFIXES) if path.is_dir() else [path]
    if not files or not path.exists():
        raise InputError(f"{path} holds no manual alignments; expected .csv, .ctm or .TextGrid")
    found: dict[str, tuple[RecognisedWord, ...]] = {}
    for file in files:
        clips = _READERS[_check_suffix(file)](file)
        if twice := found.keys() & clips.keys():
            raise InputError(f"{file} aligns clip {min(twice)}, which another file aligns already; keep one of them")
        found.update(clips)
    return found


def is_aligned(alignments: Alignments, segment_id: str, audio_sha256: str) -> bool:
    """Whether the words of a clip have times, under its id or its sound."""
    return segment_id in alignments or audio_sha256 in alignments


def write_alignments(path: Path, alignments: Alignments) -> None:
    """Write a CSV that `read_alignments` reads, times in whole milliseconds."""
    with path.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(ALIGNMENT_COLUMNS)
        for clip, words in alignments.items():
            rows.writerows((clip, each.text, f"{each.start_s:.3f}", f"{each.end_s:.3f}") for each in words)


def _check_suffix(file: Path) -> str:
    suffix = file.suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(f"{file} holds no manual alignments; expected .csv, .ctm or .TextGrid")
    return suffix


def _read_csv(file: Path) -> dict[str, tuple[RecognisedWord, ...]]:
    clips: dict[str, list[RecognisedWord]] = {}
    with file.open(newline="", encoding="utf-8-sig") as table:
        rows = csv.DictReader(table)
        missing = [name for name in ALIGNMENT_COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise InputError(f"{file} lacks the columns {', '.join(missing)}; expected {','.join(ALIGNMENT_COLUMNS)}")
        for number, row in enumerate(rows, start=2):
            word = _parse_word(file, number, row["word"], row["start_s"], row["end_s"])
            _append_word(clips, file, number, row["segment_id"], word)
    return {clip: tuple(words) for clip, words in clips.items()}


def _read_ctm(file: Path) -> dict[str, tuple[RecognisedWord, ...]]:
    clips: dict[str, list[RecognisedWord]] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        fields = line.split()
        if not fields or line.startswith(";;"):
            continue
        if len(fields) not in (5, 6):
            raise InputError(f"{file}, line {number} has {len(fields)} fields; a CTM line has 5 or 6")
        word = _parse_word(file, number, fields[4], fields[2], fields[3])
        _append_word(clips, file, number, fields[0], RecognisedWord(word.text, word.start_s, word.start_s + word.end_s))
    return {clip: tuple(words) for clip, words in clips.items()}


def _read_textgrid(file: Path) -> dict[str, tuple[RecognisedWord, ...]]:
    try:
        from praatio import textgrid
    except ImportError as error:
        raise EvaluationError(
            f"{file} is a TextGrid, whose reader is not installed; run pip install 'habla-ml[alignment]'"
        ) from error
    try:
        grid = textgrid.openTextgrid(str(file), includeEmptyIntervals=False)
    except Exception as error:  # praatio raises whatever its parsing trips over
        raise InputError(f"{file} cannot be read as a TextGrid: {error}") from error
    names = list(grid.tierNames)
    name = "words" if "words" in names else names[0] if len(names) == 1 else None
    if name is None:
        raise InputError(f"{file} has the tiers {', '.join(names)}; name the one with the words `words`")
    clips: dict[str, list[RecognisedWord]] = {}
    for number, (start_s, end_s, label) in enumerate(grid.getTier(name).entries, start=1):
        _append_word(clips, file, number, file.stem, _parse_word(file, number, label, start_s, end_s))
    return {clip: tuple(words) for clip, words in clips.items()}


_READERS: Final = {".csv": _read_csv, ".ctm": _read_ctm, ".textgrid": _read_textgrid}


def _parse_word(file: Path, number: int, text: str | None, start: object, end: object) -> RecognisedWord:
    try:
        return RecognisedWord((text or "").strip(), float(str(start)), float(str(end)))
    except ValueError:
        raise InputError(f"{file}, row {number} has the times {start!r} and {end!r}; expected seconds") from None


def _append_word(
    clips: dict[str, list[RecognisedWord]], file: Path, number: int, clip: str | None, word: RecognisedWord
) -> None:
    if not clip or not word.text:
        raise InputError(
            f"{file}, row {number} names no {'word' if clip else 'clip'}; expected {','.join(ALIGNMENT_COLUMNS)}"
        )
    earlier = clips.setdefault(clip, [])
    if not 0 <= word.start_s <= word.end_s < math.inf or (earlier and word.start_s < earlier[-1].start_s):
        raise InputError(
            f"{file}, row {number}: {word.text!r} from {word.start_s:g} to {word.end_s:g} s ends before it begins or "
            "begins before the word in front of it; times are seconds from the start of the clip"
        )
    earlier.append(word)
