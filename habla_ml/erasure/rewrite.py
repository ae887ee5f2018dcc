"""Move every pointer of a lake to the same content without the erased segments.

The content is rewritten from its leaves up: tables lose rows, JSON loses items, and whatever names a rewritten object
names the new one. Totals on pointers are counted again. A WER report is written again from its comparison: its rates
stay, its erased examples go. Any other page is deleted with its pointer, and its stage writes it again. Folders of
models are not read: they contain no voice or text. The reasons in a list of skipped inputs lose their quoted values.

Evidence about models (comparisons, training records) keeps naming the snapshot of a model, even if that snapshot is
deleted: an erasure does not change what a model was trained on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import pyarrow.compute as pc

from habla_ml.annotation.event_log import read_valid_events
from habla_ml.consent.tombstones import TOMBSTONES_FORMAT
from habla_ml.corpus.build import compute_totals
from habla_ml.corpus.snapshot import FORMAT as SNAPSHOT_FORMAT
from habla_ml.corpus.snapshot import load_latest_snapshot, read_utterances
from habla_ml.corpus.split_totals import SplitTotals
from habla_ml.erasure.matcher import (
    START_BYTES,
    ErasureMatcher,
    count_erased_rows,
    get_format,
    is_html,
    is_parquet,
    read_json_value,
    redact_quotes,
    write_without_erased_rows,
)
from habla_ml.errors import HablaError, LakeError, PointerMovedError
from habla_ml.evaluation.comparison.error_tables import ErrorTables
from habla_ml.evaluation.comparison.records import Comparison, read_comparison
from habla_ml.evaluation.comparison.sealed_result import read_sealed_result
from habla_ml.evaluation.promotion.advice_inputs import advise_for_version
from habla_ml.evaluation.promotion.override import carry_override
from habla_ml.evaluation.promotion.rule import decide
from habla_ml.evaluation.report import ReportContent, write_report
from habla_ml.lake import Lake, Pointer, catalogue, to_canonical_json
from habla_ml.lake.lake import TREE_FORMAT
from habla_ml.lake.shards import SHARDS_FORMAT, Shard, ShardedTable, count_rows, iterate_batches, load_shards, read_rows
from habla_ml.lake.table import read_parquet
from habla_ml.model_version import parent_version
from habla_ml.recordings.day_tables import count_day
from habla_ml.recordings.days import drop_raw_streams
from habla_ml.scratch import make_scratch_folder
from habla_ml.settings import Settings

_MAX_ATTEMPTS: Final = 20
_ERROR_TABLES: Final = ("utterances", "word_errors")
"""Tables of a WER report, in the order of the fields of `ErrorTables`."""


class _HtmlPageError(Exception):
    """A pointer leads to a page that cannot be rewritten."""


@dataclass
class PointerRewriter:
    """One pass over all pointers."""

    lake: Lake
    matcher: ErasureMatcher
    stream_ids: frozenset[str]
    """Raw streams to drop from their days."""
    settings: Settings
    present_ids: frozenset[str]
    clean: Collection[str]
    """Tables that have no erased segment; they are not read."""
    rewritten: dict[str, str] = field(default_factory=dict)
    """Object → the object without the erased segments; itself if it has none."""

    def rewrite_all(self) -> list[str]:
        """Move every pointer that leads to erased data; return their names. Run again after a crash.

        Raises `LakeError` if another process keeps moving the same pointer.
        """
        names = [name for name in self.lake.list_pointers("") if not _stays(name)]
        # A report takes the audio of its examples from the newest snapshot.
        names.sort(key=lambda name: (catalogue.get_area(name) == "models", _is_report(name), name))
        return [name for name in names if self._rewrite_pointer(name)]

    def _rewrite_pointer(self, name: str) -> bool:
        for _ in range(_MAX_ATTEMPTS):
            seen = self.lake.read_pointer(name)
            if seen is None:
                return False
            try:
                value = self._rewrite_report(seen) if _is_report(name) else self._rewrite_value(seen)
            except _HtmlPageError:
                return self.lake.delete_pointer(name)
            if value == dict(seen.value):
                return False
            try:
                self.lake.move_pointer(name, value, seen)
            except PointerMovedError:
                continue
            return True
        fault = f"other processes moved the pointer {name} {_MAX_ATTEMPTS} times in a row"
        raise LakeError(f"{fault}; stop them, then run again")

    def _rewrite_value(self, seen: Pointer) -> dict[str, Any]:
        value = dict(seen.value)
        if streams := value.pop("raw_streams", None):
            kept = drop_raw_streams(streams, self.stream_ids)
            value |= {"raw_streams": kept} if kept else {}
        if "set_aside" in value:
            value |= self._rewrite_skipped_inputs(value)
        value = self.matcher.clean_json(value, self._rewrite_id)
        return value if value == dict(seen.value) else _recount(self.lake, catalogue.get_area(seen.name), value)

    def _rewrite_skipped_inputs(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Return the key of a list of skipped inputs without quoted values, which may contain erased text."""
        old = value["set_aside"]
        if old not in self.rewritten:
            before: Any = self.lake.get_json(old)
            after = self.matcher.clean_json(redact_quotes(before), str)
            new = old if after == before else self.lake.put_json(after)
            self.rewritten |= {old: new, new: new}
        return {"set_aside": self.rewritten[old]}

    def _rewrite_id(self, text: str) -> str:
        return self.rewrite_object(text) if text in self.present_ids else text

    def _rewrite_id_unless_snapshot(self, text: str) -> str:
        """Return the new id of an object; evidence keeps the ids of its snapshots."""
        if text in self.present_ids and get_format(read_json_value(self.lake, text)) == SNAPSHOT_FORMAT:
            return text
        return self._rewrite_id(text)

    def rewrite_object(self, object_id: str) -> str:
        """Return the id of the object without erased segments; the same id if it has none."""
        if object_id in self.clean:
            return object_id
        if object_id not in self.rewritten:
            self.rewritten[object_id] = self._rewrite_content(object_id)
        return self.rewritten[object_id]

    def _rewrite_content(self, object_id: str) -> str:
        start = self.lake.read_object_start(object_id, START_BYTES)
        if is_parquet(start):
            return self._rewrite_table(object_id)
        if is_html(start):
            raise _HtmlPageError
        body = read_json_value(self.lake, object_id, start)
        if body is None:
            return object_id
        kind = get_format(body)
        if kind in (TREE_FORMAT, TOMBSTONES_FORMAT):
            return object_id
        if kind == SHARDS_FORMAT:
            return self._rewrite_shards(object_id)
        if kind == SNAPSHOT_FORMAT:
            cleaned = self._recount_snapshot(self.matcher.clean_json(body, self._rewrite_id), body)
        else:
            cleaned = self.matcher.clean_json(body, self._rewrite_id_unless_snapshot)
        return object_id if cleaned == body else self.lake.put_json(cleaned)

    def _rewrite_table(self, object_id: str) -> str:
        path = self.lake.fetch_path(object_id)
        if not count_erased_rows(path, self.matcher):
            return object_id
        with make_scratch_folder(self.settings.work_folder, "erase") as folder:
            target = folder / "table.parquet"
            write_without_erased_rows(path, self.matcher, target)
            return self.lake.adopt_file(target)

    def _rewrite_shards(self, object_id: str) -> str:
        """Return the id of a table in shards without erased rows; the keys of rows that are gone leave its manifest."""
        table = load_shards(self.lake, object_id)
        shards = []
        for shard in table.shards:
            if (rewritten := self.rewrite_object(shard.parquet)) != shard.parquet:
                keys = set(read_rows(self.lake, rewritten, [table.key])[table.key].unique().to_pylist())
                shard = Shard(rewritten, tuple(each for each in shard.left_out if each in keys))
            shards.append(shard)
        return ShardedTable(table.key, tuple(shards)).save(self.lake)

    def _recount_snapshot(self, body: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
        """Return the snapshot with new counts and hours if it lost segments."""
        if body["segments"] == before["segments"]:
            return body
        totals = SplitTotals()
        for rows in iterate_batches(self.lake, body["segments"], ["split", "duration_s"]):
            totals.add(rows)
        return {**body, "counts": totals.counts, "hours": totals.hours}

    def _rewrite_report(self, seen: Pointer) -> dict[str, Any]:
        """Return a WER report's pointer without the erased examples; rates, verdict and provenance stay."""
        value = dict(seen.value)
        for each in ("comparison", "html", "markdown"):
            self.rewritten[value[each]] = value[each]
        body: Any = self.lake.get_json(value["comparison"])
        cleaned = self.matcher.clean_json(body, str)
        tables: dict[str, str] = {name: self.rewrite_object(value[name]) for name in _ERROR_TABLES if name in value}
        if cleaned == body and all(value[name] == new for name, new in tables.items()):
            return value
        comparison = read_comparison(to_canonical_json(cleaned))
        has_snapshot = self.lake.read_pointer(catalogue.SPLITS) is not None
        test = read_utterances(self.lake, load_latest_snapshot(self.lake), "test") if has_snapshot else ()
        read_tables = [read_parquet(self.lake.fetch_path(each)) for each in tables.values()]
        with make_scratch_folder(self.settings.work_folder, "erase") as folder:
            content = self._build_report(seen, read_comparison(to_canonical_json(body)).digest(), comparison)
            error_tables = ErrorTables(*read_tables) if read_tables else None
            files = write_report(content, test, folder, error_tables)
            paths = {"comparison": files.json, "html": files.html, "markdown": files.markdown}
            new = {name: self.lake.adopt_file(path) for name, path in paths.items()}
        self.rewritten.update({value[name]: object_id for name, object_id in new.items()})
        return {**value, **new, **tables}

    def _build_report(self, seen: Pointer, evidence_before: str, comparison: Comparison) -> ReportContent:
        """Return what the report of a version shows, from its evidence without the erased examples."""
        (version,) = catalogue.REPORT.parts(seen.name) or ("",)
        override = carry_override(self.lake, version, evidence_before, comparison.digest())
        advice = None
        if parent_version(version) is None:
            with suppress(HablaError):  # the advice needs evidence of other versions, and no erasure waits for it
                advice = advise_for_version(self.lake, self.settings, version, comparison)
        return ReportContent(
            comparison,
            decide(comparison, self.settings.promotion),
            seen.value.get("date"),
            override.to_sentence() if override else None,
            self.settings.evaluation.acceptable,
            advice,
            profile_option=self.settings.profile_option,
            sealed=read_sealed_result(self.lake, version),
        )


def _stays(name: str) -> bool:
    """Return whether a pointer is not rewritten: tombstones, the index, and trainings, which are kept or deleted whole."""
    return (
        name in (catalogue.TOMBSTONES, catalogue.ERASURE_INDEX) or catalogue.UNFINISHED_TRAINING.parts(name) is not None
    )


def _is_report(name: str) -> bool:
    return catalogue.REPORT.parts(name) is not None


def _recount(lake: Lake, area: str, value: dict[str, Any]) -> dict[str, Any]:
    """Return a pointer's value with totals counted again from its tables."""
    if area == "recordings":
        return {**value, **asdict(count_day(lake, value["facts"]))}
    if area == "annotations":
        return {**value, "events": count_rows(lake, value["parquet"])}
    if area == "hypotheses":
        return {**value, "count": count_rows(lake, value["hypotheses"])}
    return {**value, **_recount_corpus(lake, value)} if area == "corpus" else value


def _recount_corpus(lake: Lake, value: Mapping[str, Any]) -> dict[str, Any]:
    rows = read_parquet(lake.fetch_path(value["parquet"]))
    annotated = 0
    if value["annotations"]:
        annotated = len(pc.unique(read_valid_events(lake, value["annotations"], ["segment_id"])["segment_id"]))
    return compute_totals(rows, count_rows(lake, value["facts"]), annotated - rows.num_rows)
