"""Removing what no pointer leads to any more but still holds the erased voice or text: objects and local files.

Tables go last: they alone tell what was said, so a sweep that was cut short finds the rest when it runs again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from habla_ml.consent import tombstones
from habla_ml.consent.marks import (
    TREE_FORMAT,
    Marks,
    is_page,
    is_parquet,
    is_set_aside,
    read_json,
    rows_erased,
    texts_of,
)
from habla_ml.errors import LakeError
from habla_ml.lake import Lake, catalogue, sha256_of
from habla_ml.lake.closure import ids_in
from habla_ml.training.train import exclusive

_START_BYTES: Final = 64
_LONGEST_PAGE_BYTES: Final = 64 << 20
_PAGES: Final = {".html", ".md"}
_LISTS: Final = {".json", ".jsonl", ".csv", ".tsv", ".txt"}
_UNFINISHED: Final = ("recordings-*", "stream-*", "erase-*")
_MODELS: Final = ("artefacts", "training", "cache")
"""Folders below the work folder that hold weights, or are swept by other means."""


@dataclass(frozen=True)
class Remains:
    """Objects of a lake that still hold erased material, in the order in which they are to be removed."""

    pages: tuple[str, ...]
    values: tuple[str, ...]
    """JSON."""
    tables: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Tables last."""
        return (*self.pages, *self.values, *self.tables)


def find_remains(lake: Lake, marks: Marks, streams: frozenset[str], clean: frozenset[str]) -> Remains:
    """Look into every object of the lake but for those known to be `clean`, and the files of models.

    Memory holds the ids of all objects and the texts of the erased segments.
    """
    present = set(lake.object_ids())
    kinds = {each: lake.start_of(each, _START_BYTES) for each in present - clean}
    values = {each: read_json(lake, each, start) for each, start in kinds.items()}
    values = {each: value for each, value in values.items() if value is not None}
    weights = {below for value in values.values() if _format(value) == TREE_FORMAT for below in ids_in(value)}
    weights |= {below for each in clean & present for below in _files_of_tree(lake, each)}
    rest = sorted(kinds.keys() - weights)
    tables = [each for each in rest if is_parquet(kinds[each]) and rows_erased(lake.path_of(each), marks)]
    marks = replace(marks, texts=marks.texts | texts_of((lake.path_of(each) for each in tables), marks))
    plain = [each for each in rest if each not in values and not is_parquet(kinds[each])]
    pages = [each for each in plain if each in streams or _holds(lake, each, kinds[each], marks)]
    doomed = {*tables, *pages}
    dirty = {each: value for each, value in values.items() if each not in weights}
    dirty = {
        each: value for each, value in dirty.items() if _format(value) not in (TREE_FORMAT, tombstones.FORMAT)
    }
    found = _dirty_values(dirty, marks, doomed)
    return Remains(tuple(pages), tuple(found), tuple(tables))


def remove_remains(lake: Lake, remains: Remains) -> int:
    """Delete what was found; returns how many objects were removed.

    Evidence about models may go on naming what is gone, so those pointers do not hold anything back.
    """
    families = (catalogue.REPORT, catalogue.CHECKPOINT)
    evidence = [each.name(version) for each in families for version in each.keys(lake)]
    removed = lake.delete_objects(remains.all, rewritten=(catalogue.TOMBSTONES, *evidence))
    present = set(lake.object_ids())
    for each in list(lake.cached_ids()):
        if each not in present:
            lake.drop_cached(each)
    return removed


def sweep_work_folder(lake: Lake, work_folder: Path, marks: Marks) -> int:
    """Remove local files that may hold the erased voice or text; returns how many files and folders went.

    All of them are made again by their stage: decoded clips of unfinished trainings, pages, audio files that are
    named after a segment, lists that name one. WER reports are laid down again from the lake.

    Raises:
        TrainingError: a training is running, which holds the voice in its clips.
    """
    removed = 0
    for folder in sorted((work_folder / "training").glob("*")):
        with exclusive(folder):
            for scratch in [*folder.glob("*/clips*"), *folder.glob("*/validation*")]:
                removed += _remove(scratch)
    for pattern in _UNFINISHED:
        removed += sum(_remove(path) for path in work_folder.glob(pattern))
    for report in sorted((work_folder / "reports").glob("*")):
        files = _report_files(lake, report)
        if not files or any(not _same(source, target) for target, source in files.items()):
            removed += _remove(report)
            _lay_down(files)
    for path in list(_files(work_folder)):
        if _stale(path, work_folder, marks):
            removed += _remove(path)
    return removed


def _dirty_values(values: dict[str, Any], marks: Marks, doomed: set[str]) -> list[str]:
    """JSON objects that hold erased items, or name a doomed object, or one that does.

    So do old lists of what was set aside: nobody can look for what they may repeat.
    """
    found = [each for each, value in values.items() if is_set_aside(value) or marks.cleaned(value, str) != value]
    doomed |= set(found)
    while True:
        more = [
            each
            for each, value in values.items()
            if each not in doomed and any(below in doomed for below in ids_in(value))
        ]
        if not more:
            return sorted(found)
        found += more
        doomed |= set(more)


def _format(value: Any) -> Any:
    return value.get("format") if isinstance(value, dict) else None


def _files_of_tree(lake: Lake, object_id: str) -> Iterator[str]:
    value = read_json(lake, object_id, lake.start_of(object_id, _START_BYTES))
    if _format(value) == TREE_FORMAT:
        yield from ids_in(value)


def _holds(lake: Lake, object_id: str, start: bytes, marks: Marks) -> bool:
    """Whether a page or another text that no pointer leads to holds something erased; no page is spared."""
    if is_page(start):
        return True
    if b"\0" in start:
        return False
    path = lake.path_of(object_id)
    return path.stat().st_size <= _LONGEST_PAGE_BYTES and marks.in_text(path.read_text("utf-8", "ignore"))


def _files(work_folder: Path) -> Iterator[Path]:
    for path in sorted(work_folder.rglob("*")):
        if path.is_file() and path.relative_to(work_folder).parts[0] not in _MODELS:
            yield path


def _stale(path: Path, work_folder: Path, marks: Marks) -> bool:
    inside = path.relative_to(work_folder).as_posix()
    if any(each in inside for each in (*marks.segments, *marks.sounds)):
        return True
    if path.suffix in _PAGES:
        return path.relative_to(work_folder).parts[0] != "reports"
    if path.suffix == ".parquet":
        return rows_erased(path, marks) > 0
    return path.suffix in _LISTS and replace(marks, texts=frozenset()).in_text(path.read_text("utf-8", "ignore"))


def _report_files(lake: Lake, folder: Path) -> dict[Path, Path]:
    """Where a version's report and its records belong → where the lake has them now; empty without a report."""
    pointer = lake.pointer(catalogue.REPORT.name(folder.name))
    if pointer is None:
        return {}
    names = {
        "html": "report.html",
        "markdown": "report.md",
        "comparison": "comparison.json",
        "utterances": "utterances.parquet",
        "word_errors": "word_errors.parquet",
    }
    held = pointer.value
    return {folder / name: lake.path_of(held[key]) for key, name in names.items() if key in held}


def _same(source: Path, target: Path) -> bool:
    return target.is_file() and sha256_of(source) == sha256_of(target)


def _lay_down(files: Mapping[Path, Path]) -> None:
    for target, source in files.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _remove(path: Path) -> int:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise LakeError(
            f"cannot remove {path}, which may hold the erased voice: {error.strerror}; mend its permissions, then "
            "run again"
        ) from error
    return 1
