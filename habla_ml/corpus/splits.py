"""Splits: which session is train, validation or test, decided once and written in a ledger.

A group is a session, or all sessions of an enrolled person (`corpus.speakers`). A group never moves; `corpus.split_assignment`
says where a new one goes. One sound is never in two splits: what is known under two names stays in the split that had
it first, and its other copies are left out of the snapshot. What a review queue chose for being uncertain is no sample
of what is spoken: it is left out of validation and test.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from habla_ml.annotation.review_queue import load_chosen_segment_ids
from habla_ml.corpus.build import CorpusDay, load_corpus_day
from habla_ml.corpus.conventions import Conventions
from habla_ml.corpus.snapshot import SPLITS, Snapshot, Split, load_snapshot, save_snapshot
from habla_ml.corpus.speakers import EnrolledSpeakers, find_enrolled_speakers, group_sessions, load_speaker_map
from habla_ml.corpus.split_assignment import assign_splits
from habla_ml.errors import CorpusError
from habla_ml.lake import Lake, Pointer, catalogue
from habla_ml.settings import Settings

LEDGER_FORMAT: Final = "habla_ml.split_ledger/1"
MAX_GROUP_SHARE: Final = 0.5
"""Share of the hours above which enrolled people no longer hold their sessions together."""

_SPLIT_COLUMNS: Final = (
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
# A person found in several splits is remembered in the one that must not be learnt from.
_SPLIT_PRIORITY: Final[tuple[Split, ...]] = ("test", "validation", "train")
_AUDIO_SPLIT_SCHEMA: Final = pa.schema([("audio_sha256", pa.string()), ("split", pa.string())])


@dataclass(frozen=True)
class SplitLedger:
    """What was decided, for ever."""

    groups: Mapping[str, Split]
    """Session → its split."""
    pinned_audio: Mapping[str, Split]
    """Sound (sha256) known under two names, or of a segment that left the corpus → the one split it may be in."""
    people: Mapping[str, Split] = field(default_factory=dict)
    """Enrolled student → the split in which they were first."""


@dataclass(frozen=True)
class SplitChange:
    """What became of one split since the snapshot before."""

    came: int
    left: int
    """Segments of the snapshot before that are not in this one: unusable now, chosen for review, or gone."""
    erased: int
    """Segments that had left the snapshot before already: an erasure rewrote it."""


def make_snapshot(lake: Lake, settings: Settings, conventions: Conventions) -> Snapshot:
    """Publish the snapshot of the corpus as it stands; the same corpus gives the same snapshot.

    With fewer than three sessions everything is train, and `snapshot.counts["test"]` is 0: later stages refuse it.

    Raises:
        CorpusError: nothing is usable, or days are still written under other conventions.
        PointerMovedError: somebody else made a snapshot in the meantime; run again.
    """
    days = _load_current_days(lake, conventions)
    rows = _load_usable_rows(lake, days)
    voices = find_enrolled_speakers(load_speaker_map(settings.corpus.speakers), _list_speaker_labels(rows))
    chosen = pc.is_in(rows["segment_id"], pa.array(sorted(load_chosen_segment_ids(lake)), pa.string()))
    pointer = lake.read_pointer(catalogue.SPLIT_LEDGER)
    before = load_ledger(lake, pointer)
    groups = _assign_sessions(rows, chosen, voices, before, settings)
    rows = rows.append_column(
        "split", pa.array([groups[each] for each in rows["session_id"].to_pylist()], pa.string())
    )
    uncertain = pc.and_(chosen, pc.not_equal(rows["split"], "train"))
    kept_out, rows = rows.filter(uncertain), rows.filter(pc.invert(uncertain))
    latest = lake.read_pointer(catalogue.SPLITS)
    pinned = _pin_audio(rows, before.pinned_audio, _read_earlier_splits(lake, latest))
    heard = _find_speaker_splits(voices, groups)
    people = {
        name: min(splits, key=_SPLIT_PRIORITY.index)
        for name, splits in heard.items()
        if name in voices.sessions_by_person("student")
    }
    ledger = _publish_ledger(lake, SplitLedger(groups, pinned, {**people, **before.people}), pointer)
    rows = _add_speaker_columns(_drop_copies(rows, pinned), voices)
    several = tuple(sorted(name for name, splits in heard.items() if len(splits) > 1))
    snapshot = _publish_snapshot(lake, rows, days, conventions, ledger, _count_by_split(kept_out), several)
    _move_latest(lake, snapshot, rows, latest)
    return snapshot


def compute_largest_session_share(lake: Lake, snapshot: Snapshot) -> float:
    """The share of the hours that the longest session holds, 0…1: a split cannot be balanced more finely."""
    rows = pq.read_table(lake.fetch_path(snapshot.segments), columns=["session_id", "duration_s"])
    hours = _sum_hours_by_session(rows)
    return max(hours.values()) / sum(hours.values()) if hours else 0.0


def load_split_changes(lake: Lake) -> dict[Split, SplitChange]:
    """What became of each split between the newest snapshot and the one before it; empty for the first one."""
    pointer = lake.read_pointer(catalogue.SPLITS)
    found: Any = pointer.value.get("changes", {}) if pointer else {}
    return {split: SplitChange(**found[split]) for split in SPLITS if split in found}


def load_ledger(lake: Lake, pointer: Pointer | None) -> SplitLedger:
    """The ledger that `splits/ledger` names; an empty one where there is none yet."""
    if pointer is None:
        return SplitLedger({}, {})
    body: Any = lake.get_json(pointer.value["ledger"])
    return SplitLedger(body["groups"], body["pinned_audio"], body.get("people", {}))


def _assign_sessions(
    rows: pa.Table, chosen: pa.ChunkedArray, voices: EnrolledSpeakers, before: SplitLedger, settings: Settings
) -> dict[str, Split]:
    """Every session, those of the ledger and the new ones → its split.

    A person who is in two splits already, or whom the ledger knows in another split than those they meet in a new
    session, cannot hold it: it is then dealt by itself.
    """
    hours, certain = _sum_hours_by_session(rows), _sum_hours_by_session(rows.filter(pc.invert(chosen)))
    students, known = voices.sessions_by_person("student"), before.groups
    holding = {}
    for name, sessions in students.items():
        splits = {known[each] for each in sessions if each in known} | {before.people.get(name, "")} - {""}
        if len(splits) < 2:
            holding[name] = sessions
    connected = group_sessions(hours, holding, MAX_GROUP_SHARE * sum(hours.values()))
    decided: dict[str, set[Split]] = {}
    for session, group in connected.items():
        decided.setdefault(group, set()).update({known[session]} if session in known else ())
    for name, sessions in holding.items():
        for group in {connected[each] for each in sessions} if name in before.people else ():
            decided[group].add(before.people[name])
    group_of = {each: group if len(decided[group]) < 2 else each for each, group in connected.items()}
    ledger = {session: split for session, split in known.items() if session not in hours}
    for session, group in group_of.items():
        if session in known:
            ledger[group] = known[session]
        elif len(decided.get(group, ())) == 1:
            ledger[group] = next(iter(decided[group]))
    dealt = assign_splits(
        _sum_by_group(hours, group_of), ledger, settings.splits, _sum_by_group(certain, group_of)
    )
    return {**known, **{session: known.get(session, dealt[group]) for session, group in group_of.items()}}


def _sum_by_group(hours: Mapping[str, float], group_of: Mapping[str, str]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for session, each in hours.items():
        sums[group_of[session]] = round(sums.get(group_of[session], 0.0) + each, 9)
    return sums


def _list_speaker_labels(rows: pa.Table) -> list[tuple[str, str]]:
    found = rows.group_by(["session_id", "speaker"], use_threads=False).aggregate([])
    return sorted(zip(found["session_id"].to_pylist(), found["speaker"].to_pylist(), strict=True))


def _find_speaker_splits(voices: EnrolledSpeakers, groups: Mapping[str, Split]) -> dict[str, set[Split]]:
    """Enrolled person → the splits of the sessions they speak in."""
    heard: dict[str, set[Split]] = {}
    for (session, _), person in voices.people.items():
        heard.setdefault(person.name, set()).add(groups[session])
    return heard


def _add_speaker_columns(rows: pa.Table, voices: EnrolledSpeakers) -> pa.Table:
    """Rows with the names of enrolled people, their roles, and whether train has a held-out row's speaker.

    A label that nobody is enrolled for says nothing beyond its session: whether train has that voice is not known.
    """
    pairs = list(zip(rows["session_id"].to_pylist(), rows["speaker"].to_pylist(), strict=True))
    people = [voices.people.get(pair) for pair in pairs]
    splits = rows["split"].to_pylist()
    trained = {person.name for person, split in zip(people, splits, strict=True) if person and split == "train"}
    names = [person.name if person else label for person, (_, label) in zip(people, pairs, strict=True)]
    seen = [
        person.name in trained if person and split != "train" else None
        for person, split in zip(people, splits, strict=True)
    ]
    rows = rows.set_column(rows.column_names.index("speaker"), "speaker", pa.array(names, pa.string()))
    rows = rows.append_column("role", pa.array([each.role if each else "" for each in people], pa.string()))
    return rows.append_column("is_seen_speaker", pa.array(seen, pa.bool_()))


def _count_by_split(rows: pa.Table) -> dict[Split, int]:
    return {split: rows.filter(pc.equal(rows["split"], split)).num_rows for split in SPLITS}


def _move_latest(lake: Lake, snapshot: Snapshot, rows: pa.Table, latest: Pointer | None) -> None:
    """Point at the snapshot, and note what became of each split since the one before it."""
    value: dict[str, Any] = {"snapshot": snapshot.id, "counts": dict(snapshot.counts)}
    if latest is not None:
        if {**latest.value, **value} == dict(latest.value):
            return
        before = load_snapshot(lake, latest.value["snapshot"])
        columns = ["segment_id", "split"]
        earlier = pq.read_table(io.BytesIO(lake.get_bytes(before.segments)), columns=columns)
        noted = latest.value.get("counts", before.counts)
        value["changes"] = {
            split: {
                "came": _count_missing(rows, earlier, split),
                "left": _count_missing(earlier, rows, split),
                "erased": noted[split] - before.counts[split],
            }
            for split in SPLITS
        }
    lake.move_pointer(catalogue.SPLITS, value, latest)


def _count_missing(rows: pa.Table, others: pa.Table, split: Split) -> int:
    """How many segments of a split of `rows` are not in that split of `others`."""
    here, there = (each.filter(pc.equal(each["split"], split))["segment_id"] for each in (rows, others))
    found: int = pc.sum(pc.invert(pc.is_in(here, there.combine_chunks()))).as_py() or 0
    return found


def _load_current_days(lake: Lake, conventions: Conventions) -> list[CorpusDay]:
    names = catalogue.CORPUS.keys(lake)
    days = [day for day in (load_corpus_day(lake, name) for name in names) if day and day.counts["annotated"]]
    stale = [day.day for day in days if day.conventions_digest != conventions.digest]
    if stale:
        raise CorpusError(
            f"{len(stale)} of {len(days)} days are not written under {conventions.title} yet, the first is "
            f"{stale[0]}; materialise annotated_corpus for them first"
        )
    return [day for day in days if day.counts["usable"]]


def _load_usable_rows(lake: Lake, days: list[CorpusDay]) -> pa.Table:
    tables = []
    for day in days:
        table = pq.read_table(io.BytesIO(lake.get_bytes(day.parquet)), columns=list(_SPLIT_COLUMNS))
        tables.append(table.filter(pc.is_null(table["problem"])).drop_columns(["problem"]))
    if not tables:
        raise CorpusError(
            f"the corpus in {lake.url} is empty: no segment has a usable transcript; correct some in Habla, "
            "or name a table in annotation.tables, then materialise annotated_corpus"
        )
    order = [(key, "ascending") for key in ("day", "session_id", "number", "file_name", "segment_id")]
    return pa.concat_tables(tables).sort_by(order)


def _sum_hours_by_session(rows: pa.Table) -> dict[str, float]:
    sums = rows.group_by("session_id", use_threads=False).aggregate([("duration_s", "sum")])
    return {row["session_id"]: round(row["duration_s_sum"] / 3600, 9) for row in sums.to_pylist()}


def _read_earlier_splits(lake: Lake, latest: Pointer | None) -> pa.Table:
    """Sound and split of every segment of the snapshot before this one."""
    if latest is None:
        return _AUDIO_SPLIT_SCHEMA.empty_table()
    segments = lake.get_bytes(load_snapshot(lake, latest.value["snapshot"]).segments)
    return pq.read_table(io.BytesIO(segments), columns=_AUDIO_SPLIT_SCHEMA.names)


def _pin_audio(rows: pa.Table, known: Mapping[str, Split], earlier: pa.Table) -> dict[str, Split]:
    """Every sound that stands in two splits, or has left the corpus → the split it belongs to for ever.

    That is the split of the earlier snapshot, where it was in one, else that of the first row.
    """
    both = pa.concat_tables(
        [each.select(_AUDIO_SPLIT_SCHEMA.names).cast(_AUDIO_SPLIT_SCHEMA) for each in (earlier, rows)]
    )
    distinct = both.group_by("audio_sha256").aggregate([("split", "count_distinct")])
    shared = distinct.filter(pc.greater(distinct["split_count_distinct"], 1))["audio_sha256"]
    gone = pc.invert(pc.is_in(both["audio_sha256"], rows["audio_sha256"]))
    pinned: dict[str, Split] = dict(known)
    for row in both.filter(pc.or_(gone, pc.is_in(both["audio_sha256"], shared))).to_pylist():
        pinned.setdefault(row["audio_sha256"], row["split"])
    return dict(sorted(pinned.items()))


def _drop_copies(rows: pa.Table, pinned: Mapping[str, Split]) -> pa.Table:
    """The rows without those whose sound is kept in another split."""
    keys, kept = pa.array(list(pinned), pa.string()), pa.array(list(pinned.values()), pa.string())
    keeper = pc.take(kept, pc.index_in(rows["audio_sha256"], keys))
    return rows.filter(pc.fill_null(pc.equal(keeper, rows["split"]), True))


def _publish_ledger(lake: Lake, ledger: SplitLedger, pointer: Pointer | None) -> str:
    body = {
        "format": LEDGER_FORMAT,
        "groups": dict(ledger.groups),
        "pinned_audio": dict(ledger.pinned_audio),
        "people": dict(ledger.people),
    }
    object_id = lake.put_json(body)
    lake.move_pointer(catalogue.SPLIT_LEDGER, {"ledger": object_id}, pointer)
    return object_id


def _publish_snapshot(
    lake: Lake,
    rows: pa.Table,
    days: list[CorpusDay],
    conventions: Conventions,
    ledger: str,
    kept_out: Mapping[Split, int],
    in_several_splits: tuple[str, ...],
) -> Snapshot:
    out = io.BytesIO()
    pq.write_table(rows, out, compression="zstd", row_group_size=65_536)
    hours: dict[Split, float] = {}
    for split in SPLITS:
        part = rows.filter(pc.equal(rows["split"], split))
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
        counts=_count_by_split(rows),
        kept_out=kept_out,
        in_several_splits=in_several_splits,
    )
