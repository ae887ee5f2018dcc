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
from habla_ml.erasure.matcher import (
    TREE_FORMAT,
    ErasureMatcher,
    collect_erased_texts,
    count_erased_rows,
    is_html,
    is_parquet,
    is_skipped_inputs,
    read_json_value,
)
from habla_ml.errors import LakeError
from habla_ml.lake import Lake, catalogue, compute_sha256
from habla_ml.lake.reachability import find_ids
from habla_ml.training.train import lock_work_folder

_START_BYTES: Final = 64
_MAX_PAGE_BYTES: Final = 64 << 20
_PAGE_SUFFIXES: Final = {".html", ".md"}
_TEXT_SUFFIXES: Final = {".json", ".jsonl", ".csv", ".tsv", ".txt"}
_TEMPORARY_PATTERNS: Final = ("recordings-*", "stream-*", "erase-*")
_MODEL_FOLDERS: Final = ("artefacts", "training", "cache")
"""Folders below the work folder that hold weights, or are swept by other means."""


@dataclass(frozen=True)
class OrphanedObjects:
    """Objects of a lake that still hold erased material, in the order in which they are to be removed."""

    pages: tuple[str, ...]
    values: tuple[str, ...]
    """JSON."""
    tables: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Tables last."""
        return (*self.pages, *self.values, *self.tables)


def find_orphans(
    lake: Lake, matcher: ErasureMatcher, streams: frozenset[str], clean: frozenset[str]
) -> OrphanedObjects:
    """Look into every object of the lake but for those known to be `clean`, and the files of models.

    Memory holds the ids of all objects and the texts of the erased segments.
    """
    present = set(lake.list_object_ids())
    kinds = {each: lake.read_object_start(each, _START_BYTES) for each in present - clean}
    values = {each: read_json_value(lake, each, start) for each, start in kinds.items()}
    values = {each: value for each, value in values.items() if value is not None}
    weights = {
        below for value in values.values() if _get_format(value) == TREE_FORMAT for below in find_ids(value)
    }
    weights |= {below for each in clean & present for below in _list_tree_ids(lake, each)}
    rest = sorted(kinds.keys() - weights)
    tables = [
        each for each in rest if is_parquet(kinds[each]) and count_erased_rows(lake.fetch_path(each), matcher)
    ]
    matcher = replace(
        matcher, texts=matcher.texts | collect_erased_texts((lake.fetch_path(each) for each in tables), matcher)
    )
    plain = [each for each in rest if each not in values and not is_parquet(kinds[each])]
    pages = [each for each in plain if each in streams or _contains_erased_text(lake, each, kinds[each], matcher)]
    doomed = {*tables, *pages}
    dirty = {each: value for each, value in values.items() if each not in weights}
    dirty = {
        each: value
        for each, value in dirty.items()
        if _get_format(value) not in (TREE_FORMAT, tombstones.TOMBSTONES_FORMAT)
    }
    found = _find_dirty_values(dirty, matcher, doomed)
    return OrphanedObjects(tuple(pages), tuple(found), tuple(tables))


def delete_orphans(lake: Lake, orphans: OrphanedObjects) -> int:
    """Delete what was found; returns how many objects were removed.

    Evidence about models may go on naming what is gone, so those pointers do not hold anything back.
    """
    families = (catalogue.REPORT, catalogue.CHECKPOINT)
    evidence = [each.name(version) for each in families for version in each.keys(lake)]
    removed = lake.delete_objects(orphans.all, rewritten=(catalogue.TOMBSTONES, *evidence))
    present = set(lake.list_object_ids())
    for each in list(lake.list_cached_ids()):
        if each not in present:
            lake.drop_cached(each)
    return removed


def clean_work_folder(lake: Lake, work_folder: Path, matcher: ErasureMatcher) -> int:
    """Remove local files that may hold the erased voice or text; returns how many files and folders went.

    All of them are made again by their stage: decoded clips of unfinished trainings, pages, audio files that are
    named after a segment, lists that name one. WER reports are laid down again from the lake.

    Raises:
        TrainingError: a training is running, which holds the voice in its clips.
    """
    removed = 0
    for folder in sorted((work_folder / "training").glob("*")):
        with lock_work_folder(folder):
            for scratch in [*folder.glob("*/clips*"), *folder.glob("*/validation*")]:
                removed += _remove(scratch)
    for pattern in _TEMPORARY_PATTERNS:
        removed += sum(_remove(path) for path in work_folder.glob(pattern))
    for report in sorted((work_folder / "reports").glob("*")):
        files = _map_report_files(lake, report)
        if not files or any(not _has_same_content(source, target) for target, source in files.items()):
            removed += _remove(report)
            _copy_files(files)
    for path in list(_list_work_files(work_folder)):
        if _is_stale(path, work_folder, matcher):
            removed += _remove(path)
    return removed


def _find_dirty_values(values: dict[str, Any], matcher: ErasureMatcher, doomed: set[str]) -> list[str]:
    """JSON objects that hold erased items, or name a doomed object, or one that does.

    So do old lists of what was set aside: nobody can look for what they may repeat.
    """
    found = [
        each
        for each, value in values.items()
        if is_skipped_inputs(value) or matcher.clean_json(value, str) != value
    ]
    doomed |= set(found)
    while True:
        more = [
            each
            for each, value in values.items()
            if each not in doomed and any(below in doomed for below in find_ids(value))
        ]
        if not more:
            return sorted(found)
        found += more
        doomed |= set(more)


def _get_format(value: Any) -> Any:
    return value.get("format") if isinstance(value, dict) else None


def _list_tree_ids(lake: Lake, object_id: str) -> Iterator[str]:
    value = read_json_value(lake, object_id, lake.read_object_start(object_id, _START_BYTES))
    if _get_format(value) == TREE_FORMAT:
        yield from find_ids(value)


def _contains_erased_text(lake: Lake, object_id: str, start: bytes, matcher: ErasureMatcher) -> bool:
    """Whether a page or another text that no pointer leads to holds something erased; no page is spared."""
    if is_html(start):
        return True
    if b"\0" in start:
        return False
    path = lake.fetch_path(object_id)
    return path.stat().st_size <= _MAX_PAGE_BYTES and matcher.is_in_text(path.read_text("utf-8", "ignore"))


def _list_work_files(work_folder: Path) -> Iterator[Path]:
    for path in sorted(work_folder.rglob("*")):
        if path.is_file() and path.relative_to(work_folder).parts[0] not in _MODEL_FOLDERS:
            yield path


def _is_stale(path: Path, work_folder: Path, matcher: ErasureMatcher) -> bool:
    inside = path.relative_to(work_folder).as_posix()
    if any(each in inside for each in (*matcher.segments, *matcher.sounds)):
        return True
    if path.suffix in _PAGE_SUFFIXES:
        return path.relative_to(work_folder).parts[0] != "reports"
    if path.suffix == ".parquet":
        return count_erased_rows(path, matcher) > 0
    return path.suffix in _TEXT_SUFFIXES and replace(matcher, texts=frozenset()).is_in_text(
        path.read_text("utf-8", "ignore")
    )


def _map_report_files(lake: Lake, folder: Path) -> dict[Path, Path]:
    """Where a version's report and its records belong → where the lake has them now; empty without a report."""
    pointer = lake.read_pointer(catalogue.REPORT.name(folder.name))
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
    return {folder / name: lake.fetch_path(held[key]) for key, name in names.items() if key in held}


def _has_same_content(source: Path, target: Path) -> bool:
    return target.is_file() and compute_sha256(source) == compute_sha256(target)


def _copy_files(files: Mapping[Path, Path]) -> None:
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
