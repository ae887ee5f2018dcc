"""Readers of public corpora: Common Voice, scripted and spontaneous, and Hugging Face datasets saved on disk.

Each row has a function that reads its audio file; no reader decodes audio.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from habla_ml.annotation.sources.tables.clip_paths import resolve_inside
from habla_ml.annotation.sources.tables.rows import is_audio_name
from habla_ml.delimited.table import DelimitedRow, open_delimited
from habla_ml.errors import InputError
from habla_ml.json_input import parse_json
from habla_ml.recordings.sessions import open_plain_file, read_plain_file

if TYPE_CHECKING:
    from datasets import Dataset

    from habla_ml.settings import SpeechSource

_MAX_TSV_BYTES: Final = 4 << 30
_MAX_CLIP_BYTES: Final = 32 << 20
_MAX_JSON_BYTES: Final = 64 << 20
_DATASET_BATCH_ROWS: Final = 1_000
_SCRIPTED, _SPONTANEOUS = ("path", "sentence"), ("audio_file", "transcription")
"""Columns of the clip and its text in the layouts of Common Voice."""
_HESITATION: Final = re.compile(r"\s*\[disfluency\]", re.IGNORECASE)
"""Stands for a hesitation that is not written out. Whisper leaves hesitations out too."""
_CLIP_FOLDERS: Final = {_SCRIPTED: "clips", _SPONTANEOUS: "audios"}
_TEXT_COLUMNS: Final = ("sentence", "text", "transcription", "transcript")
_SPEAKER_COLUMNS: Final = ("client_id", "speaker_id", "speaker")
_ACCENT_COLUMNS: Final = ("accents", "accent")
_UP_VOTE_COLUMNS: Final = ("up_votes", "votes")


@dataclass(frozen=True)
class PublicClip:
    """One row of a public corpus."""

    label: str
    """Unique name of the row in reports."""
    text: str
    speaker: str
    """Hash of the speaker's id; empty if the corpus has none."""
    up_votes: int
    down_votes: int
    accents: str
    load: Callable[[], bytes]
    """Reads the bytes of the audio file; raises `InputError`."""
    problem: str | None = None
    """Why the row is unusable, independent of its audio."""
    key: str = ""
    """Key for sampling: the clip's name if it has one, so that the order of the rows does not matter."""


def read_common_voice(source: SpeechSource) -> Iterator[PublicClip]:
    """Yield the rows of a Common Voice TSV.

    Scripted Speech has `validated.tsv` (columns `path` and `sentence` in every release) and the folder `clips/`.
    Spontaneous Speech has `ss-corpus-<locale>.tsv` (`audio_file` and `transcription`) and `audios/`. Releases differ in
    quoting: a cell may be quoted as in CSV, doubled quotes stand for one, and a single quote is part of the sentence.

    Raises:
        InputError: The file cannot be read, or lacks a column.
    """
    path = _find_common_voice_table(source.path)
    root = path.resolve().parent
    try:
        file = open_plain_file(path.resolve(), _MAX_TSV_BYTES)
    except InputError as error:
        raise InputError(f"Common Voice {path} {error}") from error
    with file:
        try:
            table = open_delimited(file, list(_CLIP_FOLDERS), is_key=is_audio_name)
            layout = next(each for each in _CLIP_FOLDERS if set(each) <= set(table.columns))
            clips = resolve_inside(root, _CLIP_FOLDERS[layout])
        except InputError as error:
            raise InputError(f"Common Voice {path} or its folder of clips {error}") from error
        _require_columns(path, table.columns, layout, source)
        for row in table:
            yield _parse_common_voice_row(row, table.columns, layout, clips)


def read_hugging_face(source: SpeechSource) -> Iterator[PublicClip]:
    """Yield the rows of a dataset written by `save_to_disk`, with undecoded audio.

    Audio files that rows name must be inside the dataset's folder.

    Raises:
        InputError: The folder is not such a dataset, or it lacks a column.
    """
    root = source.path.resolve()
    dataset = _open_dataset(root)
    text = source.text_column or next((each for each in _TEXT_COLUMNS if each in dataset.column_names), "sentence")
    _require_columns(source.path, dataset.column_names, (text, source.audio_column), source)
    audio = _select_undecoded_audio(dataset, source)
    known = {text, *_SPEAKER_COLUMNS, *_ACCENT_COLUMNS, *_UP_VOTE_COLUMNS, "down_votes"} - {source.audio_column}
    metadata = dataset.select_columns([name for name in dataset.column_names if name in known])
    for start in range(0, len(dataset), _DATASET_BATCH_ROWS):
        columns: dict[str, list[Any]] = metadata[start : start + _DATASET_BATCH_ROWS]
        for at, values in enumerate(zip(*columns.values(), strict=True)):
            cells = dict(zip(columns, values, strict=True))
            load = partial(_read_embedded_audio, audio, start + at, source.audio_column, root)
            yield _make_clip(f"row {start + at + 1}", cells.get(text), cells, load)


def _find_common_voice_table(path: Path) -> Path:
    if not path.is_dir() or (path / "validated.tsv").is_file():
        return path / "validated.tsv" if path.is_dir() else path
    found = sorted(path.glob("ss-corpus-*.tsv"))
    if len(found) != 1:
        raise InputError(f"Common Voice {path} holds no validated.tsv and {len(found)} ss-corpus-*.tsv; name one table")
    return found[0]


def _parse_common_voice_row(row: DelimitedRow, header: Sequence[str], layout: Sequence[str], clips: Path) -> PublicClip:
    label = f"row {row.number}"
    if row.problem is not None:
        return _make_unusable_clip(label, row.problem)
    if len(row.values) != len(set(header)):  # the end of a truncated download
        return _make_unusable_clip(label, f"has {len(row.values)} cells, the header {len(header)}")
    name, text = (row.values[each] for each in layout)
    # The first releases leave out the suffix.
    load = partial(_read_clip_file, clips, name if is_audio_name(name) else f"{name}.mp3")
    text = text.replace('""', '"')
    if layout == _SPONTANEOUS:
        text = _HESITATION.sub("", text).strip()
    return _make_clip(f"{label}: {name[:120]}", text, row.values, load, name)


def _make_clip(label: str, text: Any, cells: Mapping[str, Any], load: Callable[[], bytes], key: str = "") -> PublicClip:
    if not isinstance(text, str):
        return _make_unusable_clip(label, f"has {type(text).__name__} as its text")
    try:
        up_votes = next((cells[name] for name in _UP_VOTE_COLUMNS if cells.get(name)), 0)
        votes = [_parse_count(up_votes), _parse_count(cells.get("down_votes") or 0)]
    except (TypeError, ValueError, OverflowError):
        return _make_unusable_clip(label, "has votes that are not whole numbers")
    speaker = next((cells[name] for name in _SPEAKER_COLUMNS if cells.get(name) is not None), "")
    accents = next((cells[name] for name in _ACCENT_COLUMNS if cells.get(name)), "")
    hashed = hashlib.sha256(str(speaker).encode("utf-8", "replace")).hexdigest()[:12] if speaker != "" else ""
    return PublicClip(label, text, hashed, votes[0], votes[1], str(accents), load, key=key or label)


def _parse_count(value: Any) -> int:
    """Return a count; pandas writes 2 as 2.0 where the column has an empty cell. Raises `ValueError` for another value."""
    count = int(value) if not isinstance(value, str) else int(float(value))
    if count != float(value):
        raise ValueError("is no whole number")
    return count


def _make_unusable_clip(label: str, problem: str) -> PublicClip:
    return PublicClip(label, "", "", 0, 0, "", bytes, problem)


def _require_columns(path: Path, found: Sequence[str], needed: Sequence[str], source: SpeechSource) -> None:
    """Raise `InputError` unless the needed columns and the columns of all filters exist."""
    wanted: list[tuple[str, ...]] = [(name,) for name in needed]
    wanted += [_UP_VOTE_COLUMNS] if source.fewest_up_votes else []
    wanted += [("down_votes",)] if source.most_down_votes is not None else []
    wanted += [_ACCENT_COLUMNS] if source.accents else []
    for names in wanted:
        if not set(names) & set(found):
            raise InputError(f"{path} lacks the column {names[0]}; found {', '.join(found)[:300] or 'none'}")


def _read_clip_file(folder: Path, name: str) -> bytes:
    return read_plain_file(resolve_inside(folder, name), _MAX_CLIP_BYTES)


def _open_dataset(root: Path) -> Dataset:
    """Open the dataset after checking that every file it names is inside its folder."""
    from datasets import Dataset

    if (root / "dataset_dict.json").is_file() and not (root / "state.json").is_file():
        splits = sorted(each.name for each in root.iterdir() if each.is_dir())
        raise InputError(f"{root} holds several splits ({', '.join(splits)[:200]}); name one of its folders")
    try:
        names = ("state.json", "dataset_info.json")
        state, _ = (parse_json(read_plain_file(resolve_inside(root, name), _MAX_JSON_BYTES)) for name in names)
        for each in state["_data_files"]:
            resolve_inside(root, each["filename"])
        return Dataset.load_from_disk(str(root), keep_in_memory=False)
    except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{root} is not a dataset written by save_to_disk: {type(error).__name__}: {error}") from error


def _select_undecoded_audio(dataset: Dataset, source: SpeechSource) -> Dataset:
    """Return the dataset with the audio column only, as undecoded bytes and path."""
    from datasets import Audio

    column = source.audio_column
    kind = dataset.features[column]
    if not isinstance(kind, Audio):
        raise InputError(
            f"{source.path}: column {column} is {str(kind)[:80]}, expected Audio; cast it with cast_column first"
        )
    only: Dataset = dataset.select_columns([column]).with_format(None)
    return only.cast_column(column, Audio(decode=False))


def _read_embedded_audio(dataset: Dataset, at: int, column: str, root: Path) -> bytes:
    value = dataset[at][column] or {}
    data, path = value.get("bytes"), value.get("path")
    if isinstance(data, bytes):
        if len(data) > _MAX_CLIP_BYTES:
            raise InputError(f"has {len(data)} bytes of audio, more than the {_MAX_CLIP_BYTES} allowed")
        return data
    if not path:
        raise InputError("has no audio")
    return _read_clip_file(root, path)
