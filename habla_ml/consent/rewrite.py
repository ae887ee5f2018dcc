"""Moving every pointer of a lake to the same content without the erased segments.

What a pointer leads to is rewritten from its leaves up: tables lose rows, JSON loses items, and what names a rewritten
object names the new one. Counts on pointers are counted again. A WER report is printed again from its comparison, whose
rates stay and whose examples go; any other page is let go with its pointer, since its stage makes it again. Folders
of models are not looked into: no voice or text stands in them as such. A list of what was set aside loses the values
that its reasons repeat; that of a table is let go, and the table counts as changed, so that its import writes it again.

Evidence about models (comparisons, training records) goes on naming the snapshot it was made from, though that
snapshot may be gone: what a model was trained on is not changed by an erasure.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from habla_ml.consent import tombstones
from habla_ml.consent.marks import (
    SNAPSHOT_FORMAT,
    TREE_FORMAT,
    Marks,
    is_page,
    is_parquet,
    read_json,
    rows_erased,
    unquoted,
    write_without,
)
from habla_ml.corpus.snapshot import SPLITS, latest_snapshot, read_utterances
from habla_ml.errors import LakeError, PointerMovedError
from habla_ml.evaluation.comparison import read_comparison
from habla_ml.evaluation.error_records import Records
from habla_ml.evaluation.promotion import decide
from habla_ml.evaluation.report import write_report
from habla_ml.lake import Lake, Pointer, canonical_json, catalogue
from habla_ml.settings import Settings

_START_BYTES: Final = 64
_ATTEMPTS: Final = 20
_RECORDS: Final[tuple[str, ...]] = ("utterances", "word_errors")
"""Tables of a WER report, in the order of the fields of `Records`."""


class _PageError(Exception):
    """A pointer leads to a page that cannot be rewritten."""


@dataclass
class Rewriting:
    """One pass over all pointers."""

    lake: Lake
    marks: Marks
    streams: frozenset[str]
    """Objects that are dropped from the days that name them."""
    settings: Settings
    present: frozenset[str]
    """Ids of all objects in the lake."""
    done: dict[str, str] = field(default_factory=dict)
    """Object → the object without the erased segments; itself where it held none."""

    def move_all(self) -> list[str]:
        """Move every pointer that leads to erased material; returns their names. Run again after a crash.

        Raises:
            LakeError: somebody keeps moving the same pointer.
        """
        names = [name for name in self.lake.pointers("") if name != catalogue.TOMBSTONES]
        # A report takes the audio of its examples from the newest snapshot.
        names.sort(key=lambda name: (catalogue.area(name) == "models", _is_report(name), name))
        return [name for name in names if self._move(name)]

    def _move(self, name: str) -> bool:
        for _ in range(_ATTEMPTS):
            seen = self.lake.pointer(name)
            if seen is None:
                return False
            try:
                value = self._report(seen) if _is_report(name) else self._value(seen)
            except _PageError:
                return self.lake.delete_pointer(name)
            if value == dict(seen.value):
                return False
            try:
                self.lake.move_pointer(name, value, seen)
            except PointerMovedError:
                continue
            return True
        raise LakeError(
            f"{name} was moved by others {_ATTEMPTS} times in a row; stop what writes it, then run again"
        )

    def _value(self, seen: Pointer) -> dict[str, Any]:
        value = dict(seen.value)
        room = catalogue.area(seen.name)
        if room == "recordings" and not rows_erased(self.lake.path_of(value["facts"]), self.marks):
            self.done[value["parquet"]] = value["parquet"]  # spares reading a day of audio
        if streams := value.get("raw_streams"):
            value["raw_streams"] = {name: each for name, each in streams.items() if each not in self.streams}
            if not value["raw_streams"]:
                del value["raw_streams"]
        if "set_aside" in value:
            value |= self._listed(room, value)
        value = self.marks.cleaned(value, self._linked)
        return value if value == dict(seen.value) else _recounted(self.lake, room, value)

    def _listed(self, room: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """A pointer's list of what was set aside: nobody can tell what a cell or key of it holds that it repeats."""
        before: Any = self.lake.get_json(value["set_aside"])
        if not before:
            return {}
        if room == "tables":
            return {"set_aside": self.lake.put_json([]), "inputs": "erased"}
        after = self.marks.cleaned(unquoted(before), str)
        new = value["set_aside"] if after == before else self.lake.put_json(after)
        self.done[new] = new
        return {"set_aside": new}

    def _linked(self, text: str) -> str:
        return self.object(text) if text in self.present else text

    def _linked_softly(self, text: str) -> str:
        """As `_linked`, but snapshots keep their name: they are evidence, not content."""
        return text if text in self.present and self._is_snapshot(text) else self._linked(text)

    def object(self, object_id: str) -> str:
        """The object without erased segments; itself where it holds none."""
        if object_id not in self.done:
            self.done[object_id] = self._rewritten(object_id)
        return self.done[object_id]

    def _rewritten(self, object_id: str) -> str:
        start = self.lake.start_of(object_id, _START_BYTES)
        if is_parquet(start):
            return self._table(object_id)
        if is_page(start):
            raise _PageError
        body = read_json(self.lake, object_id, start)
        if body is None:
            return object_id
        kind = body.get("format") if isinstance(body, dict) else None
        if kind in (TREE_FORMAT, tombstones.FORMAT):
            return object_id
        if kind == SNAPSHOT_FORMAT:
            cleaned = self._snapshot(self.marks.cleaned(body, self._linked), body)
        else:
            cleaned = self.marks.cleaned(body, self._linked_softly)
        return object_id if cleaned == body else self.lake.put_json(cleaned)

    def _table(self, object_id: str) -> str:
        path = self.lake.path_of(object_id)
        if not rows_erased(path, self.marks):
            return object_id
        with self._scratch() as folder:
            target = Path(folder) / "table.parquet"
            write_without(path, self.marks, target)
            return self.lake.put_file(target)

    def _snapshot(self, body: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
        """Its counts and hours, counted again where segments left."""
        if body["segments"] == before["segments"]:
            return body
        rows = pq.read_table(self.lake.path_of(body["segments"]), columns=["split", "duration_s"])
        parts = {split: rows.filter(pc.equal(rows["split"], split)) for split in SPLITS}
        return {
            **body,
            "counts": {split: part.num_rows for split, part in parts.items()},
            "hours": {split: _hours(part) for split, part in parts.items()},
        }

    def _is_snapshot(self, object_id: str) -> bool:
        body = read_json(self.lake, object_id, self.lake.start_of(object_id, _START_BYTES))
        return isinstance(body, dict) and body.get("format") == SNAPSHOT_FORMAT

    def _report(self, seen: Pointer) -> dict[str, Any]:
        """A WER report without the erased examples and records; its rates, verdict and provenance stay."""
        value = dict(seen.value)
        for each in ("comparison", "html", "markdown"):
            self.done[value[each]] = value[each]
        body: Any = self.lake.get_json(value["comparison"])
        cleaned = self.marks.cleaned(body, str)
        tables = {each: self.object(value[each]) for each in _RECORDS if each in value}
        if cleaned == body and all(value[each] == made for each, made in tables.items()):
            return value
        comparison = read_comparison(canonical_json(cleaned))
        known = self.lake.pointer(catalogue.SPLITS) is not None
        test = read_utterances(self.lake, latest_snapshot(self.lake), "test") if known else ()
        with self._scratch() as folder:
            files = write_report(
                comparison,
                decide(comparison, self.settings.promotion),
                test,
                Path(folder),
                records=Records(*(pq.read_table(self.lake.path_of(tables[each])) for each in _RECORDS))
                if tables
                else None,
            )
            new = {
                "comparison": self.lake.put_file(files.json),
                "html": self.lake.put_file(files.html),
                "markdown": self.lake.put_file(files.markdown),
            }
        self.done.update({value[name]: made for name, made in new.items()})
        return {**value, **new, **tables}

    def _scratch(self) -> tempfile.TemporaryDirectory[str]:
        self.settings.work_folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=self.settings.work_folder, prefix="erase-")


def _is_report(name: str) -> bool:
    return catalogue.REPORT.parts(name) is not None


def _recounted(lake: Lake, room: str, value: dict[str, Any]) -> dict[str, Any]:
    """A pointer's totals, counted again from its table; pointers without totals are as they are."""
    if room == "recordings":
        rows = pq.read_table(lake.path_of(value["facts"]), columns=["session_id", "duration_s"])
        sessions = len(pc.unique(rows["session_id"]))
        return {**value, "segments": rows.num_rows, "sessions": sessions, "hours": _hours(rows)}
    if room == "annotations":
        return {**value, "events": pq.ParquetFile(lake.path_of(value["parquet"])).metadata.num_rows}
    if room == "hypotheses":
        return {**value, "count": pq.ParquetFile(lake.path_of(value["hypotheses"])).metadata.num_rows}
    return _corpus_recounted(lake, value) if room == "corpus" else value


def _corpus_recounted(lake: Lake, value: dict[str, Any]) -> dict[str, Any]:
    rows = pq.read_table(lake.path_of(value["parquet"]), columns=["status", "problem", "duration_s"])
    usable = rows.filter(pc.is_null(rows["problem"]))
    statuses = Counter(rows["status"].to_pylist())
    problems = Counter(each for each in rows["problem"].to_pylist() if each)
    counted = {
        "segments": pq.ParquetFile(lake.path_of(value["facts"])).metadata.num_rows,
        "annotated": rows.num_rows,
        "usable": usable.num_rows,
        **{status: statuses[status] for status in ("corrected", "confirmed", "unusable")},
    }
    known = {name: counted.get(name, number) for name, number in value["counts"].items()}
    return {**value, "counts": known, "problems": dict(sorted(problems.items())), "hours": _hours(usable)}


def _hours(rows: pa.Table) -> float:
    return round((pc.sum(rows["duration_s"]).as_py() or 0.0) / 3600, 9)
