"""Splits: which session is train, validation, test or sealed, decided once and recorded in a ledger.

A group is a session, or all sessions of an enrolled student (`corpus.speakers`). Sessions whose names are spellings of
one name (`habla_ml.names`) are one group, since a table's session has the name of its speaker. Copies of a session
(`corpus.copies`) are one session, and a snapshot has each sound once. A group never moves; `corpus.split_assignment`
chooses the split of a new one. A sound that sessions of two splits share stays in the split that had it first, and
`corpus.near_duplicates` drops altered copies. Segments that a review queue chose as uncertain are not a random sample of
speech, so the held-out splits exclude them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.annotation.review_queue import load_chosen_segment_ids
from habla_ml.corpus.build import CORPUS_SCHEMA, CorpusDay, list_corpus_days, read_corpus_rows
from habla_ml.corpus.conventions import Conventions
from habla_ml.corpus.copies import find_names_of_copies, keep_newest_of_each_sound, rename_sessions
from habla_ml.corpus.near_duplicates import drop_near_duplicates
from habla_ml.corpus.overlap import mark_seen_sentences
from habla_ml.corpus.planned_splits import add_planned_sessions
from habla_ml.corpus.snapshot import (
    OPEN_SPLITS,
    SNAPSHOT_SCHEMA,
    SPLITS,
    Snapshot,
    Split,
    load_snapshot,
    save_snapshot,
)
from habla_ml.corpus.speakers import (
    EnrolledSpeakers,
    add_speaker_columns,
    find_enrolled_speakers,
    find_sessions_by_student,
    group_sessions,
)
from habla_ml.corpus.split_assignment import (
    SHARE_TOLERANCE,
    assign_splits,
    choose_sealed_groups,
    compute_split_shares,
)
from habla_ml.corpus.split_ledger import SplitLedger, load_ledger, save_ledger
from habla_ml.errors import CorpusError
from habla_ml.lake import Lake, Pointer, catalogue
from habla_ml.lake.table import put_table, read_parquet, read_table
from habla_ml.names import canonical_name
from habla_ml.settings import Settings, SplitSettings

SPEAKER_COUNTS: Final = ("sessions", "seen", "unseen", "unknown")
MAX_GROUP_SHARE: Final = 0.5
"""Share of the hours above which enrolled people no longer keep their sessions in one group."""

_CORPUS_COLUMNS: Final = (
    *(name for name in SNAPSHOT_SCHEMA.names if name in CORPUS_SCHEMA.names),
    *("problem", "annotated_at"),
)
# A person found in several splits belongs to the one that training must not use.
_SPLIT_PRIORITY: Final[tuple[Split, ...]] = ("sealed", "test", "validation", "train")
_AUDIO_SPLIT_SCHEMA: Final = pa.schema([("audio_sha256", pa.string()), ("split", pa.string())])


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
    before = load_ledger(lake, pointer)
    rows = _load_usable_rows(lake, days)
    before = replace(before, groups=add_planned_sessions(lake, rows, before.groups, settings.splits))
    copied = find_names_of_copies(lake, [day.metadata for day in days], rows["session_id"], before.groups)
    rows = keep_newest_of_each_sound(rename_sessions(rows, copied), ("audio_sha256", "session_id"))
    speakers = find_enrolled_speakers(rows, settings)
    chosen = rows["chosen"]
    groups = assign_sessions(rows, chosen, speakers, before, settings)
    groups |= {name: groups[merged] for name, merged in copied.items() if merged in groups}
    rows = rows.append_column("split", pa.array([groups[each] for each in rows["session_id"].to_pylist()], pa.string()))
    excluded = pc.and_(chosen, pc.not_equal(rows["split"], "train"))
    kept_out, rows = rows.filter(excluded), rows.filter(pc.invert(excluded))
    latest = lake.read_pointer(catalogue.SPLITS)
    earlier = _read_earlier_splits(lake, latest)
    pinned = _pin_audio(rows, before.pinned_audio, earlier)
    person_splits = _find_splits_by_person(speakers, groups)
    students = find_sessions_by_student(speakers)
    people = {name: min(person_splits[name], key=_SPLIT_PRIORITY.index) for name in students}
    known = _find_splits_by_name(before.people)
    new_people = {name: split for name, split in people.items() if canonical_name(name) not in known}
    ledger_id = save_ledger(lake, SplitLedger(groups, pinned, {**new_people, **before.people}), pointer)
    rows = keep_newest_of_each_sound(_drop_copies(rows, pinned), ("audio_sha256",))
    rows, near_duplicates = drop_near_duplicates(lake, rows, {day.day: day.recordings for day in days}, earlier)
    rows = mark_seen_sentences(add_speaker_columns(rows.drop_columns(["chosen", "annotated_at"]), speakers))
    draft = Snapshot(
        id="",
        segments=put_table(lake, rows.cast(SNAPSHOT_SCHEMA)),
        recordings={day.day: day.recordings for day in days},
        corpus={day.day: day.parquet for day in days},
        conventions=conventions.title,
        conventions_digest=conventions.digest,
        ledger=ledger_id,
        hours=_sum_hours_by_split(rows),
        counts=_count_by_split(rows),
        kept_out=_count_by_split(kept_out),
        in_several_splits=tuple(sorted(name for name, splits in person_splits.items() if len(splits) > 1)),
        near_duplicates=near_duplicates,
    )
    snapshot = save_snapshot(lake, draft)
    _move_latest(lake, snapshot, rows, latest)
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
    rows = read_parquet(lake.fetch_path(snapshot.segments), ["session_id", "duration_s"])
    hours = _sum_hours_by_session(rows)
    return (
        f"{'; '.join(off)}. Groups never move; new groups go to the split that lacks most hours. The largest session "
        f"has {max(hours.values()) / sum(hours.values()):.1%} of the hours."
    )


def count_speakers(lake: Lake, snapshot: Snapshot) -> dict[str, dict[str, int | None]]:
    """Return `SPEAKER_COUNTS` by split: sessions, and for held-out splits the segments by whether train has the speaker."""
    rows = read_parquet(lake.fetch_path(snapshot.segments), ["split", "session_id", "is_seen_speaker"])
    found: dict[str, dict[str, int | None]] = {}
    for split in snapshot.counts:
        part = rows.filter(pc.equal(rows["split"], split))
        counts: list[int | None] = [None, None, None]
        if split != "train":
            unknown = part["is_seen_speaker"].null_count
            seen = pc.sum(part["is_seen_speaker"]).as_py() or 0
            counts = [seen, part.num_rows - unknown - seen, unknown]
        found[split] = dict(zip(SPEAKER_COUNTS, (len(pc.unique(part["session_id"])), *counts), strict=True))
    return found


def load_split_changes(lake: Lake) -> dict[Split, SplitChange]:
    """Return the changes of each split between the two newest snapshots; empty for the first snapshot."""
    pointer = lake.read_pointer(catalogue.SPLITS)
    changes: Any = pointer.value.get("changes", {}) if pointer else {}
    keys = ("came", "left", "erased")
    return {split: SplitChange(*(changes[split][key] for key in keys)) for split in SPLITS if split in changes}


def assign_sessions(
    rows: pa.Table, chosen: pa.ChunkedArray, speakers: EnrolledSpeakers, before: SplitLedger, settings: Settings
) -> dict[str, Split]:
    """Return every session, known or new → its split.

    A student keeps their sessions together only if all of these sessions, and the ledger's entry for the student,
    agree on at most one split. Otherwise each new session is assigned separately.
    """
    hours, eligible = _sum_hours_by_session(rows), _sum_hours_by_session(rows.filter(pc.invert(chosen)))
    known, people = before.groups, _find_splits_by_name(before.people)
    connecting = {}
    for name, sessions in find_sessions_by_student(speakers).items():
        splits = {known[each] for each in sessions if each in known} | {people.get(canonical_name(name), "")} - {""}
        if len(splits) < 2:
            connecting[name] = sessions
    spellings = _find_spellings(hours, known)
    largest_hours = MAX_GROUP_SHARE * sum(hours.values())
    connected = group_sessions(hours, connecting, largest_hours, [spelled for spelled, _ in spellings])
    decided = _find_decided_splits(connected, connecting, known, people)
    for spelled, split in spellings:
        decided[connected[spelled[0]]].update([split] if split else [])
    group_of = {session: group if len(decided[group]) < 2 else session for session, group in connected.items()}
    ledger = {session: split for session, split in known.items() if session not in hours}
    for session, group in group_of.items():
        if session in known:
            ledger[group] = known[session]
        elif len(decided.get(group, ())) == 1:
            ledger[group] = next(iter(decided[group]))
    assigned = assign_splits(_sum_by_group(hours, group_of), ledger, settings.splits, _sum_by_group(eligible, group_of))
    sealed = choose_sealed_groups(assigned, ledger, Counter(group_of.values()), settings.splits)
    assigned |= dict.fromkeys(sealed, "sealed")
    return {**known, **{session: known.get(session, assigned[group]) for session, group in group_of.items()}}


def _find_spellings(hours: Mapping[str, float], known: Mapping[str, Split]) -> list[tuple[list[str], Split | None]]:
    """Return the sessions of each name with several spellings, and the split that was decided for one of them.

    A name whose spellings are in several splits already, from before they counted as one, is left out.
    """
    by_name: dict[str, list[str]] = defaultdict(list)
    for session in sorted(hours.keys() | known.keys()):
        by_name[canonical_name(session)].append(session)
    found = []
    for sessions in by_name.values():
        splits = {known[each] for each in sessions if each in known}
        present = [each for each in sessions if each in hours]
        if len(sessions) > 1 and present and len(splits) < 2:
            found.append((present, next(iter(splits), None)))
    return found


def _find_splits_by_name(people: Mapping[str, Split]) -> dict[str, Split]:
    """Return canonical name → split; of several spellings the split that training must not use."""
    found: dict[str, Split] = {}
    for name, split in people.items():
        key = canonical_name(name)
        found[key] = min(split, found.get(key, split), key=_SPLIT_PRIORITY.index)
    return found


def _find_decided_splits(
    connected: Mapping[str, str],
    connecting: Mapping[str, Iterable[str]],
    known: Mapping[str, Split],
    people: Mapping[str, Split],
) -> dict[str, set[Split]]:
    """Return group → the splits that the ledger decided for its sessions or students.

    `connected` is session → its group, `connecting` student → their sessions, `known` session → its split, and `people`
    canonical name of a student → their split.
    """
    decided: dict[str, set[Split]] = {group: set() for group in connected.values()}
    for session in connected.keys() & known.keys():
        decided[connected[session]].add(known[session])
    for name, sessions in connecting.items():
        if (split := people.get(canonical_name(name))) is not None:
            for session in sessions:
                decided[connected[session]].add(split)
    return decided


def _sum_by_group(hours: Mapping[str, float], group_of: Mapping[str, str]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for session, each in hours.items():
        sums[group_of[session]] = round(sums[group_of[session]] + each, 9)
    return sums


def _find_splits_by_person(speakers: EnrolledSpeakers, groups: Mapping[str, Split]) -> dict[str, set[Split]]:
    """Return enrolled person → the splits of the sessions with their speech."""
    found: dict[str, set[Split]] = defaultdict(set)
    for (session, _), person in speakers.items():
        found[person.name].add(groups[session])
    return found


def _select_split(rows: pa.Table, split: Split) -> pa.Table:
    return rows.filter(pc.equal(rows["split"], split))


def divide_by_split(rows: pa.Table) -> dict[Split, pa.Table]:
    """Return the rows of each open split, and of the sealed share where it has rows."""
    parts: dict[Split, pa.Table] = {split: _select_split(rows, split) for split in SPLITS}
    return {split: part for split, part in parts.items() if split in OPEN_SPLITS or part.num_rows}


def _count_by_split(rows: pa.Table) -> dict[Split, int]:
    return {split: part.num_rows for split, part in divide_by_split(rows).items()}


def _sum_hours_by_split(rows: pa.Table) -> dict[Split, float]:
    seconds = {split: pc.sum(part["duration_s"]).as_py() or 0.0 for split, part in divide_by_split(rows).items()}
    return {split: round(each / 3600, 9) for split, each in seconds.items()}


def _move_latest(lake: Lake, snapshot: Snapshot, rows: pa.Table, latest: Pointer | None) -> None:
    """Move the pointer to the snapshot and record the changes of each split since the previous one."""
    value: dict[str, Any] = {"snapshot": snapshot.id, "counts": dict(snapshot.counts)}
    if latest is not None:
        if {**latest.value, **value} == dict(latest.value):
            return
        before = load_snapshot(lake, latest.value["snapshot"])
        earlier = read_table(lake, before.segments, ["segment_id", "split"])
        recorded_counts = latest.value.get("counts", before.counts)
        value["changes"] = {
            split: {
                "came": _count_missing(rows, earlier, split),
                "left": _count_missing(earlier, rows, split),
                "erased": recorded_counts.get(split, 0) - before.counts.get(split, 0),
            }
            for split in SPLITS
            if split in OPEN_SPLITS or split in {*snapshot.counts, *recorded_counts}
        }
    lake.move_pointer(catalogue.SPLITS, value, latest)


def _count_missing(rows: pa.Table, others: pa.Table, split: Split) -> int:
    """Return how many segments of a split of `rows` are not in the same split of `others`."""
    here, there = (_select_split(each, split)["segment_id"] for each in (rows, others))
    found: int = pc.sum(pc.invert(pc.is_in(here, there.combine_chunks()))).as_py() or 0
    return found


def _load_current_days(lake: Lake, conventions: Conventions) -> list[CorpusDay]:
    days = [day for day in list_corpus_days(lake) if day.counts["annotated"]]
    stale = [day.day for day in days if day.conventions_digest != conventions.digest]
    if stale:
        raise CorpusError(
            f"{len(stale)} of {len(days)} days do not use {conventions.title} yet, the first is {stale[0]}; "
            "materialise annotated_corpus for these days first"
        )
    return [day for day in days if day.counts["usable"]]


def _load_usable_rows(lake: Lake, days: list[CorpusDay]) -> pa.Table:
    """Return the usable rows, and whether a review queue chose their sound as uncertain."""
    tables = []
    for day in days:
        table = read_corpus_rows(lake, day, _CORPUS_COLUMNS)
        tables.append(table.filter(pc.is_null(table["problem"])).drop_columns(["problem"]))
    if not tables:
        raise CorpusError(
            f"the corpus in {lake.url} is empty: no segment has a usable transcript; correct some in Habla, "
            "or name a table in annotation.tables, then materialise annotated_corpus"
        )
    order = [(key, "ascending") for key in ("day", "session_id", "number", "file_name", "segment_id")]
    rows = pa.concat_tables(tables).sort_by(order)
    is_chosen = pc.is_in(rows["segment_id"], pa.array(sorted(load_chosen_segment_ids(lake)), pa.string()))
    chosen_sounds = pc.unique(rows["audio_sha256"].filter(is_chosen))
    return rows.append_column("chosen", pc.is_in(rows["audio_sha256"], chosen_sounds))


def _sum_hours_by_session(rows: pa.Table) -> dict[str, float]:
    sums = rows.group_by("session_id", use_threads=False).aggregate([("duration_s", "sum")])
    return {row["session_id"]: round(row["duration_s_sum"] / 3600, 9) for row in sums.to_pylist()}


def _read_earlier_splits(lake: Lake, latest: Pointer | None) -> pa.Table:
    """Read audio digest and split of every segment of the previous snapshot."""
    if latest is None:
        return _AUDIO_SPLIT_SCHEMA.empty_table()
    return read_table(lake, load_snapshot(lake, latest.value["snapshot"]).segments, _AUDIO_SPLIT_SCHEMA.names)


def _pin_audio(rows: pa.Table, known: Mapping[str, Split], earlier: pa.Table) -> dict[str, Split]:
    """Return all audio that is in two splits, or has left the corpus → the only split it may be in.

    That is its split in the earlier snapshot, otherwise the split of its first row.
    """
    both = pa.concat_tables(
        each.select(_AUDIO_SPLIT_SCHEMA.names).cast(_AUDIO_SPLIT_SCHEMA) for each in (earlier, rows)
    )
    distinct = both.group_by("audio_sha256").aggregate([("split", "count_distinct")])
    shared = distinct.filter(pc.greater(distinct["split_count_distinct"], 1))["audio_sha256"]
    gone = pc.invert(pc.is_in(both["audio_sha256"], rows["audio_sha256"]))
    pinned: dict[str, Split] = dict(known)
    for row in both.filter(pc.or_(gone, pc.is_in(both["audio_sha256"], shared))).to_pylist():
        pinned.setdefault(row["audio_sha256"], row["split"])
    return dict(sorted(pinned.items()))


def _drop_copies(rows: pa.Table, pinned: Mapping[str, Split]) -> pa.Table:
    """Drop the rows with audio that belongs to another split."""
    keys, splits = pa.array(list(pinned), pa.string()), pa.array(list(pinned.values()), pa.string())
    allowed = pc.take(splits, pc.index_in(rows["audio_sha256"], keys))
    return rows.filter(pc.fill_null(pc.equal(allowed, rows["split"]), True))
