"""Near-duplicate audio between train and the held-out splits: one side of each pair leaves the snapshot.

A copy of a sound with another gain, encoding or cut has another sha256, so `corpus.copies` does not find it. Its
fingerprint does. The side that had its sound first keeps it: a sound that an earlier snapshot held out stays held out,
and a new sound that nearly equals one of an earlier train split is not held out. Of two new sounds the held-out one
stays. The decisions are permanent, like those of the split ledger.

Only days that changed are compared again: their sounds with all sounds of the other side. The decisions are a JSON list,
and from `MAX_LISTED_COPIES` on a table to which a comparison adds its own. The table does not name the sound that stays,
since an erasure finds a sound by its row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Final, Literal, Protocol

import pyarrow as pa

from habla_ml.corpus.fingerprint_index import find_near_duplicates
from habla_ml.corpus.snapshot import Split
from habla_ml.corpus.stored_fingerprints import DayFingerprints, digest_sounds
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.shards import append_rows, iterate_batches

DROPPED_COPIES_FORMAT: Final = "habla_ml.dropped_copies/1"
DROPPED_TABLE_FORMAT: Final = "habla_ml.dropped_copies/2"
"""With a table of the decisions."""
MAX_LISTED_COPIES: Final = 10_000
DROPPED_SCHEMA: Final = pa.schema([("audio_sha256", pa.string()), ("side", pa.string()), ("bit_errors", pa.float64())])

Side = Literal["train", "held_out"]
_SIDES: Final[tuple[Side, ...]] = ("train", "held_out")
_Dropped = list[dict[str, Any]] | str
"""The decisions as JSON, or the object id of a table of `DROPPED_SCHEMA`."""


@dataclass(frozen=True)
class DroppedCopy:
    """A sound that one side of the splits must not have, because the other side has nearly the same."""

    audio_sha256: str
    side: Side
    """The side that must not have it."""
    bit_errors: float
    """Share of differing bits of the fingerprints."""
    duplicate_of: str = ""
    """sha256 of the sound that stays; empty after its erasure, and where the decisions are a table."""


class ComparedSounds(Protocol):
    """The sounds of a snapshot by day and side, each once."""

    def iterate_sounds(self) -> Iterator[tuple[str, Side, list[str]]]:
        """Yield the sounds of each day and side that has some."""
        ...

    def find_sounds(self, day: str, side: Side) -> list[str]:
        """Return the sounds of a day and side."""
        ...

    def find_earlier_splits(self, sounds: Collection[str]) -> Mapping[str, Split]:
        """Return sound → its split in the previous snapshot, for those of these sounds that it has."""
        ...


def find_dropped_copies(lake: Lake, sounds: ComparedSounds, recordings: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    """Compare train with the held-out splits; return the new and the earlier decisions, as `DROPPED_SCHEMA`.

    Args:
        lake: Receives new fingerprints and decisions.
        sounds: The sounds of the snapshot.
        recordings: Day → object id of its parquet of audio.

    Raises:
        PointerMovedError: Another process compared at the same time; run again.
    """
    pointer = lake.read_pointer(catalogue.DROPPED_COPIES)
    before: Any = {} if pointer is None else lake.get_json(pointer.value["dropped"])
    dropped: _Dropped = before.get("dropped", [])
    compared: Mapping[Side, Mapping[str, str]] = before.get("compared", {side: {} for side in _SIDES})
    digests: dict[Side, dict[str, str]] = {side: {} for side in _SIDES}
    for day, side, of_day in sounds.iterate_sounds():
        digests[side][day] = digest_sounds(of_day)
    changed = {side: {day for day, each in digests[side].items() if compared[side].get(day) != each} for side in _SIDES}
    if changed["train"] or changed["held_out"]:
        pairs = list(_compare(lake, recordings, sounds, digests, changed))
        dropped = _add_copies(lake, dropped, list(_decide(pairs, sounds, _find_known(lake, dropped, pairs))))
        kind = DROPPED_TABLE_FORMAT if isinstance(dropped, str) else DROPPED_COPIES_FORMAT
        value = {"format": kind, "compared": digests, "dropped": dropped}
        lake.move_pointer(catalogue.DROPPED_COPIES, {"dropped": lake.put_json(value)}, pointer)
    return _iterate_copies(lake, dropped)


def read_dropped_copies(lake: Lake, most: int | None = None) -> list[DroppedCopy]:
    """Return the decisions, or the first ones."""
    pointer = lake.read_pointer(catalogue.DROPPED_COPIES)
    body: Any = {} if pointer is None else lake.get_json(pointer.value["dropped"])
    dropped: _Dropped = body.get("dropped", [])
    rows = (row for part in _iterate_copies(lake, dropped) for row in part.to_pylist())
    return [DroppedCopy(**row) for row in islice(dropped if isinstance(dropped, list) else rows, most)]


def _compare(
    lake: Lake,
    recordings: Mapping[str, str],
    sounds: ComparedSounds,
    days: Mapping[Side, Collection[str]],
    changed: Mapping[Side, Collection[str]],
) -> Iterator[tuple[str, str, float]]:
    """Yield (train sound, held-out sound, bit errors) of each pair with a changed day; the changed side is indexed."""

    def select(side: Side, selected: Collection[str]) -> DayFingerprints:
        return DayFingerprints(
            lake, recordings, lambda: ((day, sounds.find_sounds(day, side)) for day in sorted(selected))
        )

    for pair in find_near_duplicates(select("held_out", changed["held_out"]), select("train", days["train"])):
        yield pair.found, pair.indexed, pair.bit_errors
    unchanged = set(days["held_out"]) - set(changed["held_out"])
    for pair in find_near_duplicates(select("train", changed["train"]), select("held_out", unchanged)):
        yield pair.indexed, pair.found, pair.bit_errors


def _decide(
    pairs: Iterable[tuple[str, str, float]], sounds: ComparedSounds, known: Collection[str]
) -> Iterator[DroppedCopy]:
    """Yield the sound to drop of each pair (train sound, held-out sound, bit errors) that has both."""
    open_pairs = [pair for pair in pairs if pair[0] not in known and pair[1] not in known]
    first_splits = sounds.find_earlier_splits({sound for pair in open_pairs for sound in pair[:2]})
    dropped: set[str] = set()
    for train, held_out, bit_errors in open_pairs:
        was_trained = first_splits.get(train) == "train"
        was_held_out = first_splits.get(held_out, "train") != "train"
        if was_trained and not was_held_out and held_out not in dropped:
            dropped.add(held_out)
            yield DroppedCopy(held_out, "held_out", bit_errors, train)
    for train, held_out, bit_errors in open_pairs:
        if train not in dropped and held_out not in dropped:
            dropped.add(train)
            yield DroppedCopy(train, "train", bit_errors, held_out)


def _iterate_copies(lake: Lake, dropped: _Dropped) -> Iterator[pa.RecordBatch]:
    if isinstance(dropped, str):
        yield from iterate_batches(lake, dropped, DROPPED_SCHEMA.names)
    else:
        yield pa.RecordBatch.from_pylist(dropped, schema=DROPPED_SCHEMA)


def _find_known(lake: Lake, dropped: _Dropped, pairs: Iterable[tuple[str, str, float]]) -> set[str]:
    """Return the sounds of the pairs about which was decided before."""
    sounds = {sound for pair in pairs for sound in pair[:2]}
    return {
        sound
        for part in _iterate_copies(lake, dropped)
        for sound in part["audio_sha256"].to_pylist()
        if sound in sounds
    }


def _add_copies(lake: Lake, dropped: _Dropped, new: Collection[DroppedCopy]) -> _Dropped:
    rows = sorted(map(asdict, new), key=lambda row: row["audio_sha256"])
    if isinstance(dropped, list):
        rows = sorted([*dropped, *rows], key=lambda row: row["audio_sha256"])
        if len(rows) <= MAX_LISTED_COPIES:
            return rows
        dropped = ""
    table = pa.Table.from_pylist([{name: row[name] for name in DROPPED_SCHEMA.names} for row in rows], DROPPED_SCHEMA)
    return append_rows(lake, dropped or None, table, "audio_sha256") if rows else dropped
