"""Splits: which session is train, validation, test or sealed, decided once and recorded in a ledger.

A session never moves; `corpus.session_splits` chooses the split of a new one, together with the sessions that belong to
it. Copies of a session (`corpus.copies`) are one session, and a snapshot has each sound once. A sound that sessions of two
splits share stays in the split that had it first, and `corpus.near_duplicates` drops altered copies. Segments that a
review queue chose as uncertain are not a random sample of speech, so the held-out splits exclude them.

All steps over segments are SQL (`corpus.split_tables`), so that memory does not grow with the corpus.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.annotation.review_queue import iterate_chosen_segments
from habla_ml.corpus.build import CorpusDay, list_corpus_days
from habla_ml.corpus.conventions import Conventions
from habla_ml.corpus.copies import find_names_of_copies
from habla_ml.corpus.near_duplicates import find_dropped_copies
from habla_ml.corpus.planned_splits import bind_planned_sessions, load_planned_groups
from habla_ml.corpus.session_splits import assign_sessions, find_new_people, find_splits_by_person
from habla_ml.corpus.snapshot import OPEN_SPLITS, SNAPSHOT_SCHEMA, SPLITS, Snapshot, Split, load_snapshot, save_snapshot
from habla_ml.corpus.speakers import EnrolledSpeakers, find_enrolled_speakers
from habla_ml.corpus.split_assignment import SHARE_TOLERANCE, compute_split_shares
from habla_ml.corpus.split_ledger import (
    MAX_LISTED_SOUNDS,
    PINNED_SCHEMA,
    PinnedAudio,
    SplitLedger,
    iterate_pinned_audio,
    load_ledger,
    save_ledger,
)
from habla_ml.corpus.split_tables import SplitTables
from habla_ml.corpus.split_totals import HoursByName, SplitTotals
from habla_ml.errors import CorpusError
from habla_ml.lake import Lake, Pointer, catalogue
from habla_ml.lake.database import open_scratch_database
from habla_ml.lake.shards import iterate_batches
from habla_ml.lake.table import write_table
from habla_ml.scratch import make_scratch_folder
from habla_ml.settings import Settings, SplitSettings

SPEAKER_COUNTS: Final = ("sessions", "seen", "unseen", "unknown")


@dataclass(frozen=True)
class SplitChange:
    """Changes of one split since the previous snapshot."""

    added: int
    """Segments of this snapshot that the previous one lacks."""
    removed: int
    """Segments of the previous snapshot that this one lacks: now unusable, chosen for review, or deleted."""
    erased: int
    """Segments that an erasure removed from the previous snapshot."""


def make_snapshot(lake: Lake, settings: Settings, conventions: Conventions) -> Snapshot:
    """Publish the snapshot of the current corpus; the same corpus gives the same snapshot.

    With fewer than three sessions everything is train and `snapshot.counts["test"]` is 0; later stages refuse that.

    Raises:
        CorpusError: No segment is usable, or some days use other conventions.
        PointerMovedError: Another process made a snapshot at the same time; run again.
    """
    days = _load_current_days(lake, conventions)
    pointer = lake.read_pointer(catalogue.SPLIT_LEDGER)
    latest = lake.read_pointer(catalogue.SPLITS)
    before = load_ledger(lake, pointer)
    recordings = {day.day: day.recordings for day in days}
    with open_scratch_database(settings.work_folder) as database:
        tables = SplitTables(database)
        _load_segments(lake, tables, days)
        before = replace(before, groups={**before.groups, **_bind_planned(lake, tables, before, settings.splits)})
        metadata = [day.metadata for day in days]
        copied = find_names_of_copies(lake, metadata, tables.find_sessions(), before.groups, database)
        tables.merge_copied_sessions(copied)
        speakers = find_enrolled_speakers(tables.iterate_speakers(), settings)
        groups = assign_sessions(*tables.sum_hours(), speakers, before, settings)
        groups |= {name: groups[merged] for name, merged in copied.items() if merged in groups}
        tables.set_splits(groups)
        kept_out = tables.exclude_selected()
        if latest is not None:
            tables.load_earlier(lake, load_snapshot(lake, latest.value["snapshot"]).segments)
        tables.pin_audio(iterate_pinned_audio(lake, before))
        person_splits = find_splits_by_person(speakers, groups)
        people = {**find_new_people(speakers, person_splits, before.people), **before.people}
        ledger_id = save_ledger(lake, SplitLedger(groups, _store_pinned(lake, tables, settings), people), pointer)
        tables.drop_copies()
        near_duplicates = tables.drop_near_duplicates(find_dropped_copies(lake, tables, recordings))
        segments, totals = _publish_rows(lake, tables, speakers, settings)
        draft = Snapshot(
            id="",
            segments=segments,
            recordings=recordings,
            corpus={day.day: day.parquet for day in days},
            conventions=conventions.title,
            conventions_digest=conventions.digest,
            ledger=ledger_id,
            hours=totals.hours,
            counts=totals.counts,
            kept_out=kept_out,
            in_several_splits=tuple(sorted(name for name, splits in person_splits.items() if len(splits) > 1)),
            near_duplicates=near_duplicates,
        )
        snapshot = save_snapshot(lake, draft)
        _move_latest(lake, snapshot, tables, latest)
    return snapshot


def describe_balance(lake: Lake, snapshot: Snapshot, settings: SplitSettings) -> str:
    """Return whether each split is within one point of its share of the hours, and if not, by how much and why.

    The sealed share counts as test.
    """
    total = sum(snapshot.hours.values())
    parts: dict[Split, float] = {split: snapshot.hours[split] / total for split in OPEN_SPLITS}
    parts["test"] += snapshot.hours.get("sealed", 0.0) / total
    off = [
        f"{split} has {parts[split]:.1%} of {share:.0%}"
        for split, share in compute_split_shares(settings).items()
        if abs(parts[split] - share) > SHARE_TOLERANCE
    ]
    if not off:
        return "within a point of the shares"
    sums = HoursByName()
    for batch in iterate_batches(lake, snapshot.segments, ["session_id", "duration_s"]):
        sums.add(batch)
    hours = sums.compute()
    return (
        f"{'; '.join(off)}. Groups never move; new groups go to the split that lacks most hours. The largest session "
        f"has {max(hours.values()) / sum(hours.values()):.1%} of the hours."
    )


def count_speakers(lake: Lake, snapshot: Snapshot) -> dict[str, dict[str, int | None]]:
    """Return `SPEAKER_COUNTS` by split: sessions, and for held-out splits the segments by whether train has the speaker."""
    sessions: dict[str, set[str]] = {split: set() for split in snapshot.counts}
    segments = Counter[tuple[str, bool | None]]()
    for batch in iterate_batches(lake, snapshot.segments, ["split", "session_id", "is_seen_speaker"]):
        for split, names in sessions.items():
            part = batch.filter(pc.equal(batch["split"], split))
            names.update(pc.unique(part["session_id"]).to_pylist())
            segments.update((split, each) for each in part["is_seen_speaker"].to_pylist())
    found: dict[str, dict[str, int | None]] = {}
    for split, names in sessions.items():
        counts = (segments[split, is_seen] if split != "train" else None for is_seen in (True, False, None))
        found[split] = dict(zip(SPEAKER_COUNTS, (len(names), *counts), strict=True))
    return found


def load_split_changes(lake: Lake) -> dict[Split, SplitChange]:
    """Return the changes of each split between the two newest snapshots; empty for the first snapshot."""
    pointer = lake.read_pointer(catalogue.SPLITS)
    changes: Any = pointer.value.get("changes", {}) if pointer else {}
    keys = ("came", "left", "erased")
    return {split: SplitChange(*(changes[split][key] for key in keys)) for split in SPLITS if split in changes}


def _load_current_days(lake: Lake, conventions: Conventions) -> list[CorpusDay]:
    days = [day for day in list_corpus_days(lake) if day.counts["annotated"]]
    stale = [day.day for day in days if day.conventions_digest != conventions.digest]
    if stale:
        raise CorpusError(
            f"{len(stale)} of {len(days)} days do not use {conventions.title} yet, the first is {stale[0]}; "
            "materialise annotated_corpus for these days first"
        )
    return [day for day in days if day.counts["usable"]]


def _load_segments(lake: Lake, tables: SplitTables, days: list[CorpusDay]) -> None:
    if not tables.load_segments(lake, days, iterate_chosen_segments(lake)):
        raise CorpusError(
            f"the corpus in {lake.url} is empty: no segment has a usable transcript; correct some in Habla, "
            "or name a table in annotation.tables, then materialise annotated_corpus"
        )


def _bind_planned(lake: Lake, tables: SplitTables, before: SplitLedger, settings: SplitSettings) -> dict[str, Split]:
    """Return the planned sessions that have text now, and for which the plan holds → their splits."""
    sessions, selected = set(tables.find_sessions()), set(tables.find_sessions(only_selected=True))
    return bind_planned_sessions(load_planned_groups(lake), sessions, selected, before.groups, settings)


def _store_pinned(lake: Lake, tables: SplitTables, settings: Settings) -> PinnedAudio:
    """Return the pinned audio, after storing a table of it if it is too much for a list."""
    if tables.count_pinned() > MAX_LISTED_SOUNDS:
        return _store_table(lake, tables.iterate_pinned(), PINNED_SCHEMA, settings)
    listed: dict[str, Split] = {}
    for part in tables.iterate_pinned():
        listed.update(zip(part["audio_sha256"].to_pylist(), part["split"].to_pylist(), strict=True))
    return listed


def _store_table(lake: Lake, parts: Iterable[pa.Table], schema: pa.Schema, settings: Settings) -> str:
    with make_scratch_folder(settings.work_folder, "splits") as folder:
        path = folder / "table.parquet"
        write_table(path, parts, schema)
        return lake.adopt_file(path)


def _publish_rows(
    lake: Lake, tables: SplitTables, speakers: EnrolledSpeakers, settings: Settings
) -> tuple[str, SplitTotals]:
    """Store the rows of the snapshot; return the object id of their table, and their sums."""
    totals = SplitTotals()

    def sum_rows() -> Iterator[pa.Table]:
        for rows in tables.iterate_rows():
            totals.add(rows)
            yield rows

    tables.finish(speakers)
    return _store_table(lake, sum_rows(), SNAPSHOT_SCHEMA, settings), totals


def _move_latest(lake: Lake, snapshot: Snapshot, tables: SplitTables, latest: Pointer | None) -> None:
    """Move the pointer to the snapshot and record the changes of each split since the previous one."""
    value: dict[str, Any] = {"snapshot": snapshot.id, "counts": dict(snapshot.counts)}
    if latest is not None:
        if {**latest.value, **value} == dict(latest.value):
            return
        before = load_snapshot(lake, latest.value["snapshot"])
        changes = tables.count_changes()
        recorded_counts = latest.value.get("counts", before.counts)
        value["changes"] = {
            split: {
                "came": changes.get((split, "came"), 0),
                "left": changes.get((split, "left"), 0),
                "erased": recorded_counts.get(split, 0) - before.counts.get(split, 0),
            }
            for split in SPLITS
            if split in OPEN_SPLITS or split in {*snapshot.counts, *recorded_counts}
        }
    lake.move_pointer(catalogue.SPLITS, value, latest)
