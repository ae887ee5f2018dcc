"""Delete objects and local files that still contain erased voice or text and that no pointer needs.

Tables are deleted last: only they contain the erased texts, so an interrupted deletion finds the rest on the next run.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from habla_ml.consent.tombstones import TOMBSTONES_FORMAT
from habla_ml.erasure.matcher import (
    ErasureMatcher,
    collect_erased_texts,
    count_erased_rows,
    get_format,
    is_skipped_inputs,
    read_json_value,
)
from habla_ml.erasure.rewrite import PointerRewriter
from habla_ml.erasure.table_index import BINARY, INDEX, JSON, PAGE, TABLE, TableIndex
from habla_ml.erasure.unfinished_trainings import find_affected_checkpoints
from habla_ml.errors import LakeError
from habla_ml.export.publish import ARTEFACTS_FOLDER
from habla_ml.lake import Lake, catalogue, compute_sha256
from habla_ml.lake.lake import TREE_FORMAT
from habla_ml.lake.reachability import find_ids
from habla_ml.scratch import SCRATCH_FOLDER
from habla_ml.training.train import lock_work_folder
from habla_ml.transcription.transcribe_files import CACHE_FOLDER

_MAX_PAGE_BYTES: Final = 64 << 20
_PAGE_SUFFIXES: Final = {".html", ".md"}
_TEXT_SUFFIXES: Final = {".json", ".jsonl", ".csv", ".tsv", ".txt"}
_TEMPORARY_PATTERNS: Final = (f"{SCRATCH_FOLDER}/*", CACHE_FOLDER)
_MODEL_FOLDERS: Final = (ARTEFACTS_FOLDER, "training", "cache")
"""Folders below the work folder with weights or with their own cleaning step."""
_REPORT_FILES: Final = {
    "html": "report.html",
    "markdown": "report.md",
    "comparison": "comparison.json",
    "utterances": "utterances.parquet",
    "word_errors": "word_errors.parquet",
}
"""Key of a report's pointer → file in the report's folder."""


def find_orphans(
    lake: Lake, matcher: ErasureMatcher, streams: frozenset[str], clean: frozenset[str], index: TableIndex
) -> list[str]:
    """Return the objects that still contain erased data, in the order of their deletion; tables are last.

    Searches every object except the files of models, those in `clean`, and the tables in which the index finds nothing.
    `streams` are raw streams with an erased voice. Memory holds the ids of all objects and the texts of the erased segments.
    """
    sizes_bytes = {each.sha256: each.size_bytes for each in lake.list_objects()}
    index.learn({each: size_bytes for each, size_bytes in sizes_bytes.items() if each not in clean})
    kinds = {each: index.kinds[each] for each in sizes_bytes if each in index.kinds and each not in clean}
    values, trees = dict[str, Any](), list[Any]()
    for each in sizes_bytes:
        if kinds.get(each, JSON) != JSON or (value := _read_json(lake, each, index)) is None:
            continue
        if each in kinds:
            values[each] = value
        if get_format(value) == TREE_FORMAT:
            trees.append(value)
    weights = {below for tree in trees for below in find_ids(tree)}
    searched = sorted(kinds.keys() - weights)
    spotless = index.find_clean(matcher)
    tables = [
        each
        for each in searched
        if kinds[each] == TABLE and each not in spotless and count_erased_rows(lake.fetch_path(each), matcher)
    ]
    texts = collect_erased_texts((lake.fetch_path(each) for each in tables), matcher)
    matcher = replace(matcher, texts=matcher.texts | texts)
    pages = [
        each
        for each in searched
        if each not in values
        and kinds[each] not in (TABLE, INDEX)
        and (each in streams or _contains_erased_text(lake, each, kinds[each], matcher))
    ]
    cleanable = {
        each: value
        for each, value in values.items()
        if each not in weights and get_format(value) not in (TREE_FORMAT, TOMBSTONES_FORMAT)
    }
    dirty = _find_dirty_values(cleanable, matcher, {*tables, *pages})
    return [*pages, *dirty, *tables]


def delete_orphans(lake: Lake, orphans: Collection[str], index: TableIndex) -> int:
    """Delete orphaned objects and stale cached copies; return the number of deleted objects.

    Evidence about models may keep naming deleted objects, so its pointers do not prevent a deletion. The index forgets
    the orphans first, and its own earlier objects go with them.
    """
    sizes_bytes = {each.sha256: each.size_bytes for each in lake.list_objects()}
    index.learn(sizes_bytes)
    stale = {each for each in sizes_bytes if index.kinds.get(each) == INDEX}
    stale |= index.save(sizes_bytes.keys() - {*orphans, *stale})
    families = (catalogue.REPORT, catalogue.CHECKPOINT)
    evidence = [each.name(version) for each in families for version in each.keys(lake)]
    doomed = [*sorted(stale - index.parts.keys()), *orphans]
    removed = lake.delete_objects(doomed, (catalogue.TOMBSTONES, *evidence), index.list_leaves())
    for each in set(lake.list_cached_ids()) - set(lake.list_object_ids()):
        lake.drop_cached(each)
    return removed


def clean_work_folder(lake: Lake, work_folder: Path, matcher: ErasureMatcher, rewriter: PointerRewriter) -> int:
    """Remove local files that may contain erased voice or text; return the number of removed files and folders.

    Their stages write all of them again: decoded clips of unfinished trainings, checkpoints of those that used the voice,
    pages, audio files with the name of a segment, lists of segments, and cached transcripts of files. WER reports are
    copied again from the lake. Raises `TrainingError` if a training is running and holds the voice in its clips.
    """
    removed = 0
    for folder in sorted((work_folder / "training").glob("*")):
        with lock_work_folder(folder):
            trained = find_affected_checkpoints(folder, rewriter)
            for scratch in [*folder.glob("*/clips*"), *folder.glob("*/validation*"), *trained]:
                removed += _remove(scratch)
    for pattern in _TEMPORARY_PATTERNS:
        removed += sum(_remove(path) for path in work_folder.glob(pattern))
    for report in sorted((work_folder / "reports").glob("*")):
        files = _map_report_files(lake, report)
        if not files or not all(
            target.is_file() and compute_sha256(source) == compute_sha256(target) for target, source in files.items()
        ):
            removed += _remove(report)
            for target, source in files.items():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
    for path in sorted(work_folder.rglob("*")):
        inside = path.relative_to(work_folder)
        if path.is_file() and inside.parts[0] not in _MODEL_FOLDERS and _is_stale(path, inside, matcher):
            removed += _remove(path)
    return removed


def _read_json(lake: Lake, object_id: str, index: TableIndex) -> Any:
    return read_json_value(lake, object_id, b"{" if index.kinds.get(object_id) == JSON else None)


def _find_dirty_values(values: dict[str, Any], matcher: ErasureMatcher, doomed: Collection[str]) -> list[str]:
    """Return the JSON objects that contain erased items, or name a doomed object directly or through others.

    Lists of skipped inputs count too, because their reasons may quote erased text.
    """
    dirty = {
        each for each, value in values.items() if is_skipped_inputs(value) or matcher.clean_json(value, str) != value
    }
    newest = dirty | set(doomed)
    while newest:
        clean = values.keys() - dirty
        newest = {each for each in clean if not newest.isdisjoint(find_ids(values[each]))}
        dirty |= newest
    return sorted(dirty)


def _contains_erased_text(lake: Lake, object_id: str, kind: str, matcher: ErasureMatcher) -> bool:
    """Return whether an object without a pointer is a page, or another text with erased data."""
    if kind in (PAGE, BINARY):
        return kind == PAGE
    path = lake.fetch_path(object_id)
    return path.stat().st_size <= _MAX_PAGE_BYTES and matcher.is_in_text(path.read_text("utf-8", "ignore"))


def _is_stale(path: Path, inside: Path, matcher: ErasureMatcher) -> bool:
    if any(each in inside.as_posix() for each in (*matcher.segments, *matcher.sounds)):
        return True
    if path.suffix in _PAGE_SUFFIXES:
        return inside.parts[0] != "reports"
    if path.suffix == ".parquet":
        return count_erased_rows(path, matcher) > 0
    return path.suffix in _TEXT_SUFFIXES and matcher.is_in_text(path.read_text("utf-8", "ignore"))


def _map_report_files(lake: Lake, folder: Path) -> Mapping[Path, Path]:
    """Return file of a version's report → its current content in the lake; empty if there is no report."""
    pointer = lake.read_pointer(catalogue.REPORT.name(folder.name))
    value = {} if pointer is None else pointer.value
    return {folder / name: lake.fetch_path(value[key]) for key, name in _REPORT_FILES.items() if key in value}


def _remove(path: Path) -> int:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        return 0
    except OSError as error:
        fault = f"cannot remove {path}, which may contain the erased voice: {error.strerror}"
        raise LakeError(f"{fault}; fix its permissions, then run again") from error
    return 1
