"""Splits: which session is train, validation or test, decided once and written in a ledger.

A new group goes where the hours are shortest relative to the shares, in an order that a seeded hash of the groups'
names decides: a random order that nobody can lean on and everybody can repeat. A group never moves. One sound is
never in two splits: what is known under two names stays in the split that had it first, and its other copies are
left out of the snapshot.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from habla_ml.corpus.build import DayOfCorpus, load_corpus
from habla_ml.corpus.conventions import Conventions
from habla_ml.corpus.snapshot import SPLITS, Snapshot, Split, load_snapshot, save_snapshot
from habla_ml.errors import CorpusError
from habla_ml.lake import Lake, Pointer
from habla_ml.settings import Settings, SplitSettings

LEDGER_POINTER: Final = "splits/ledger"
LATEST_POINTER: Final = "splits/latest"
LEDGER_FORMAT: Final = "habla_ml.split_ledger/1"
FEWEST_GROUPS: Final = 3
"""With fewer sessions there can be no train, validation and test: all go to train, and the test set is empty."""

# Of splits equally short, test is filled first.
_ORDER: Final[tuple[Split, ...]] = ("test", "validation", "train")
_COLUMNS: Final = (
    "segment_id",
    "day",
    "session_id",
    "file_name",
    "number",
    "speaker",
    "sentence",
    "status",
    "problem",
    "duration_s",
    "loudness_dbfs",
    "audio_sha256",
)
_SOUND: Final = pa.schema([("audio_sha256", pa.string()), ("split", pa.string())])


@dataclass(frozen=True)
class Ledger:
    """What was decided, for ever."""

    groups: Mapping[str, Split]
    """Session → its split."""
    pinned_audio: Mapping[str, Split]
    """Sound (sha256) known under two names, or of a segment that left the corpus → the one split it may be in."""


def assign_splits(
    hours: Mapping[str, float], ledger: Mapping[str, Split], settings: SplitSettings
) -> dict[str, Split]:
    """The ledger's groups as they are, and a split for every group of `hours` that is new.

    Args:
        hours: group → its usable hours now.
        ledger: group → split, as decided before; groups without hours now stay in it.
        settings: shares of validation and test, and the seed of the order.

    Raises:
        CorpusError: the shares leave nothing for train.
    """
    shares: dict[Split, float] = {
        "test": settings.test,
        "validation": settings.validation,
        "train": 1 - settings.validation - settings.test,
    }
    if shares["train"] <= 0:
        raise CorpusError(
            f"splits.validation {settings.validation} and splits.test {settings.test} leave nothing for train; "
            "lower them below 1 together"
        )
    groups = dict(ledger)
    filled = dict.fromkeys(SPLITS, 0.0)
    for group, split in ledger.items():
        filled[split] += hours.get(group, 0.0)
    new = sorted(hours.keys() - ledger.keys(), key=lambda group: _shuffled(settings.seed, group))
    open_splits = [split for split in _ORDER if shares[split] > 0]
    if len(groups) + len(new) < FEWEST_GROUPS:
        open_splits = ["train"]
    for group in new:
        split = min(open_splits, key=lambda each: filled[each] / shares[each])
        groups[group] = split
        filled[split] += hours[group]
    return groups


def make_snapshot(lake: Lake, settings: Settings, conventions: Conventions) -> Snapshot:
    """Publish the snapshot of the corpus as it stands; the same corpus gives the same snapshot.

    With fewer than three sessions everything is train, and `snapshot.counts["test"]` is 0: later stages refuse it.

    Raises:
        CorpusError: nothing is usable, or days are still written under other conventions.
        PointerMovedError: somebody else made a snapshot in the meantime; run again.
    """
    days = _days(lake, conventions)
    rows = _usable(lake, days)
    pointer = lake.pointer(LEDGER_POINTER)
    before = load_ledger(lake, pointer)
    groups = assign_splits(_hours_by_session(rows), before.groups, settings.splits)
    rows = rows.append_column(
        "split", pa.array([groups[each] for each in rows["session_id"].to_pylist()], pa.string())
    )
    latest = lake.pointer(LATEST_POINTER)
    pinned = _pinned_audio(rows, before.pinned_audio, _earlier_splits(lake, latest))
    ledger = _publish_ledger(lake, Ledger(groups, pinned), pointer)
    rows = _without_copies(rows, pinned)
    snapshot = _publish(lake, rows, days, conventions, ledger)
    lake.move_pointer(LATEST_POINTER, {"snapshot": snapshot.id}, latest)
    return snapshot


def load_ledger(lake: Lake, pointer: Pointer | None) -> Ledger:
    """The ledger that `splits/ledger` names; an empty one where there is none yet."""
    if pointer is None:
        return Ledger({}, {})
    body: Any = lake.get_json(pointer.value["ledger"])
    return Ledger(body["groups"], body["pinned_audio"])


def _shuffled(seed: int, group: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{group}".encode()).digest()


def _days(lake: Lake, conventions: Conventions) -> list[DayOfCorpus]:
    names = (name.removeprefix("corpus/") for name in lake.pointers("corpus/"))
    days = [day for day in (load_corpus(lake, name) for name in names) if day and day.counts["annotated"]]
    stale = [day.day for day in days if day.conventions_digest != conventions.digest]
    if stale:
        raise CorpusError(
            f"{len(stale)} of {len(days)} days are not written under {conventions.title} yet, the first is "
            f"{stale[0]}; materialise annotated_corpus for them first"
        )
    return [day for day in days if day.counts["usable"]]


def _usable(lake: Lake, days: list[DayOfCorpus]) -> pa.Table:
    tables = []
    for day in days:
        table = pq.read_table(io.BytesIO(lake.get_bytes(day.parquet)), columns=list(_COLUMNS))
        tables.append(table.filter(pc.is_null(table["problem"])).drop_columns(["problem"]))
    if not tables:
        raise CorpusError(
            f"the corpus in {lake.url} is empty: no segment has a usable transcript; correct some in Habla, "
            "or name a table in annotation.tables, then materialise annotated_corpus"
        )
    order = [(key, "ascending") for key in ("day", "session_id", "number", "file_name", "segment_id")]
    return pa.concat_tables(tables).sort_by(order)


def _hours_by_session(rows: pa.Table) -> dict[str, float]:
    sums = rows.group_by("session_id", use_threads=False).aggregate([("duration_s", "sum")])
    return {row["session_id"]: round(row["duration_s_sum"] / 3600, 9) for row in sums.to_pylist()}


def _earlier_splits(lake: Lake, latest: Pointer | None) -> pa.Table:
    """Sound and split of every segment of the snapshot before this one."""
    if latest is None:
        return _SOUND.empty_table()
    segments = lake.get_bytes(load_snapshot(lake, latest.value["snapshot"]).segments)
    return pq.read_table(io.BytesIO(segments), columns=_SOUND.names)


def _pinned_audio(rows: pa.Table, known: Mapping[str, Split], earlier: pa.Table) -> dict[str, Split]:
    """Every sound that stands in two splits, or has left the corpus → the split it belongs to for ever.

    That is the split of the earlier snapshot, where it was in one, else that of the first row.
    """
    both = pa.concat_tables([each.select(_SOUND.names).cast(_SOUND) for each in (earlier, rows)])
    distinct = both.group_by("audio_sha256").aggregate([("split", "count_distinct")])
    shared = distinct.filter(pc.greater(distinct["split_count_distinct"], 1))["audio_sha256"]
    gone = pc.invert(pc.is_in(both["audio_sha256"], rows["audio_sha256"]))
    pinned: dict[str, Split] = dict(known)
    for row in both.filter(pc.or_(gone, pc.is_in(both["audio_sha256"], shared))).to_pylist():
        pinned.setdefault(row["audio_sha256"], row["split"])
    return dict(sorted(pinned.items()))


def _without_copies(rows: pa.Table, pinned: Mapping[str, Split]) -> pa.Table:
    """The rows without those whose sound is kept in another split."""
    keys, kept = pa.array(list(pinned), pa.string()), pa.array(list(pinned.values()), pa.string())
    keeper = pc.take(kept, pc.index_in(rows["audio_sha256"], keys))
    return rows.filter(pc.fill_null(pc.equal(keeper, rows["split"]), True))


def _publish_ledger(lake: Lake, ledger: Ledger, pointer: Pointer | None) -> str:
    body = {"format": LEDGER_FORMAT, "groups": dict(ledger.groups), "pinned_audio": dict(ledger.pinned_audio)}
    object_id = lake.put_json(body)
    lake.move_pointer(LEDGER_POINTER, {"ledger": object_id}, pointer)
    return object_id


def _publish(
    lake: Lake, rows: pa.Table, days: list[DayOfCorpus], conventions: Conventions, ledger: str
) -> Snapshot:
    out = io.BytesIO()
    pq.write_table(rows, out, compression="zstd", row_group_size=65_536)
    hours: dict[Split, float] = {}
    counts: dict[Split, int] = {}
    for split in SPLITS:
        part = rows.filter(pc.equal(rows["split"], split))
        counts[split] = part.num_rows
        hours[split] = round((pc.sum(part["duration_s"]).as_py() or 0.0) / 3600, 9)
    return save_snapshot(
        lake,
        segments=lake.put_bytes(out.getvalue()),
        recordings={day.day: day.recordings for day in days},
        corpus={day.day: day.parquet for day in days},
        conventions=conventions.title,
        conventions_digest=conventions.digest,
        ledger=ledger,
        hours=hours,
        counts=counts,
    )
