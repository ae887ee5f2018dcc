"""Copied sessions: folders with the same sounds under several names, such as a backup that was restored.

Copies are one session wherever sessions are counted: in the groups of the splits and in the clusters of a bootstrap.
Whole sessions are compared, annotated or not, because people may have annotated other segments of each copy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import reduce
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.audio import SILENCE_DBFS
from habla_ml.lake import Lake
from habla_ml.lake.shards import read_rows

_COPIED_SHARE: Final = 0.5
"""Two sessions are copies if they share this part of the sounds of the smaller one. A recording that was copied in the
middle, or partly deleted, has all its sounds in the other copy; a clip that was played twice makes no copy."""

_ANNOTATION_COLUMNS: Final = {"sentence", "status", "annotated_at", "conventions", "is_blind"}


def find_copied_sessions(lake: Lake, metadata: Iterable[str], sessions: Collection[str]) -> list[list[str]]:
    """Return the groups of at least two of these sessions that are copies of each other, each sorted by name.

    `metadata` has the object ids of the days' segment metadata. Digital silence is left out: it is always the same sound.
    """
    wanted = pa.array(sorted(sessions), pa.string())
    columns = ["session_id", "audio_sha256", "loudness_dbfs"]
    tables = []
    for object_id in metadata:
        rows = read_rows(lake, object_id, columns)
        is_wanted = pc.and_(pc.is_in(rows["session_id"], wanted), pc.greater(rows["loudness_dbfs"], SILENCE_DBFS))
        tables.append(rows.filter(is_wanted).select(columns[:2]))
    if not tables:
        return []
    rows = pa.concat_tables(tables)
    repeated = rows.filter(pc.is_in(rows["audio_sha256"], _find_repeated(rows["audio_sha256"])))
    rows = rows.filter(pc.is_in(rows["session_id"], pc.unique(repeated["session_id"])))
    keys = ["audio_sha256", "session_id"]
    sounds = rows.group_by(keys).aggregate([]).sort_by([(key, "ascending") for key in keys])
    sizes = {each["values"]: each["counts"] for each in pc.value_counts(sounds["session_id"]).to_pylist()}
    # Neighbours only: a sound of 10,000 sessions gives 10,000 pairs, and the copies of a session are a chain.
    sound, session = (sounds[key].combine_chunks() for key in keys)
    is_shared = pc.equal(sound[:-1], sound[1:])
    pairs = pa.table({"one": session[:-1].filter(is_shared), "other": session[1:].filter(is_shared)})
    joined: dict[str, list[str]] = {}
    for pair in pairs.group_by(["one", "other"]).aggregate([([], "count_all")]).sort_by("one").to_pylist():
        one, other = pair["one"], pair["other"]
        if pair["count_all"] < _COPIED_SHARE * min(sizes[one], sizes[other]):
            continue
        group, added = joined.setdefault(one, [one]), joined.setdefault(other, [other])
        if group is not added:
            group += added
            joined.update(dict.fromkeys(added, group))
    once = {id(group): sorted(group) for group in joined.values()}
    return sorted(once.values())


def _find_repeated(values: pa.ChunkedArray) -> pa.Array:
    counted = pc.value_counts(values)
    return counted.field("values").filter(pc.greater(counted.field("counts"), 1))


def find_names_of_copies(
    lake: Lake, metadata: Iterable[str], sessions: pa.ChunkedArray, decided: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Return copied session → the copy under whose name it is counted, for those of these sessions that are copies.

    `metadata` is as in `find_copied_sessions`. Copies for which `decided` has different values, such as splits, keep
    their names.
    """
    found: dict[str, str] = {}
    for group in find_copied_sessions(lake, metadata, pc.unique(sessions).to_pylist()):
        main = next((name for name in group if name in decided), group[0])
        found |= {name: main for name in group if name != main and decided.get(name) in (None, decided.get(main))}
    return found


def rename_sessions(rows: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """Return the rows with the sessions in `names` under their other name."""
    if not names:
        return rows
    sessions = [names.get(each, each) for each in rows["session_id"].to_pylist()]
    return rows.set_column(rows.column_names.index("session_id"), "session_id", pa.array(sessions, pa.string()))


def keep_newest_of_each_sound(rows: pa.Table, keys: Sequence[str]) -> pa.Table:
    """Return the first row of each combination of `keys`, in the order of the rows, with the newest annotation of them.

    `audio_sha256` is one of the keys. The first row stays when a copy is annotated later, so no day loses its segments to
    a copy.
    """
    if pc.count_distinct(rows["audio_sha256"]).as_py() == rows.num_rows:
        return rows
    by_time = [(name, "ascending") for name in (*keys, "annotated_at", "segment_id")]
    order = pc.sort_indices(rows, by_time)
    ordered = [rows[key].combine_chunks().take(order) for key in keys]
    is_next = reduce(pc.or_, [pc.not_equal(column[:-1], column[1:]) for column in ordered])
    starts = np.concatenate([[0], 1 + np.flatnonzero(is_next)])
    indices = order.to_numpy()
    first, newest = np.minimum.reduceat(indices, starts), indices[np.append(starts[1:], len(indices)) - 1]
    in_order = np.argsort(first)
    kept, annotations = rows.take(pa.array(first[in_order])), rows.take(pa.array(newest[in_order]))
    for name in _ANNOTATION_COLUMNS & set(rows.column_names):
        kept = kept.set_column(kept.column_names.index(name), rows.schema.field(name), annotations[name])
    return kept
