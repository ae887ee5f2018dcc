"""Near-duplicate audio between train and the held-out splits: one side of each pair leaves the snapshot.

A copy of a sound with another gain, encoding or cut has another sha256, so `corpus.copies` does not find it. Its
fingerprint does. The side that had its sound first keeps it: a sound that an earlier snapshot held out stays held out,
and a new sound that nearly equals one of an earlier train split is not held out. Of two new sounds the held-out one
stays. The decisions are permanent, like those of the split ledger.

Only days that changed are compared again: their sounds with all sounds of the other side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.corpus.fingerprint_index import find_near_duplicates
from habla_ml.corpus.snapshot import OPEN_SPLITS, Split
from habla_ml.corpus.stored_fingerprints import DayFingerprints, digest_sounds
from habla_ml.lake import Lake, catalogue

DROPPED_COPIES_FORMAT: Final = "habla_ml.dropped_copies/1"

Side = Literal["train", "held_out"]
_SIDES: Final[tuple[Side, ...]] = ("train", "held_out")
_SoundsByDay = dict[str, list[str]]


@dataclass(frozen=True)
class DroppedCopy:
    """A sound that one side of the splits must not have, because the other side has nearly the same."""

    audio_sha256: str
    side: Side
    """The side that must not have it."""
    bit_errors: float
    """Share of differing bits of the fingerprints."""
    duplicate_of: str = ""
    """sha256 of the sound that stays; empty after its erasure."""


def drop_near_duplicates(
    lake: Lake, rows: pa.Table, recordings: Mapping[str, str], earlier: pa.Table
) -> tuple[pa.Table, dict[Split, int]]:
    """Return the rows of a snapshot without near-duplicates across train and held-out splits, and the number dropped.

    Args:
        lake: Receives new fingerprints and decisions.
        rows: With `day`, `audio_sha256` and `split`, each sound once.
        recordings: Day → object id of its parquet of audio.
        earlier: `audio_sha256` and `split` of the previous snapshot.

    Raises:
        PointerMovedError: Another process compared at the same time; run again.
    """
    pointer = lake.read_pointer(catalogue.DROPPED_COPIES)
    before: Any = {} if pointer is None else lake.get_json(pointer.value["dropped"])
    dropped = {each.audio_sha256: each for each in _parse_copies(before)}
    compared: Mapping[Side, Mapping[str, str]] = before.get("compared", {side: {} for side in _SIDES})
    sounds = {side: _group_by_day(rows, side) for side in _SIDES}
    digests = {side: {day: digest_sounds(each) for day, each in sounds[side].items()} for side in _SIDES}
    changed = {side: {day for day, each in digests[side].items() if compared[side].get(day) != each} for side in _SIDES}
    if changed["train"] or changed["held_out"]:
        pairs = list(_compare(lake, recordings, sounds, changed))
        for each in _decide(pairs, earlier, dropped):
            dropped[each.audio_sha256] = each
        value: dict[str, Any] = {"format": DROPPED_COPIES_FORMAT, "compared": digests}
        value["dropped"] = [asdict(each) for _, each in sorted(dropped.items())]
        lake.move_pointer(catalogue.DROPPED_COPIES, {"dropped": lake.put_json(value)}, pointer)
    is_dropped = pc.or_(*(_mask_dropped(rows, side, dropped) for side in _SIDES))
    splits = pc.value_counts(rows.filter(is_dropped)["split"]).to_pylist()
    counts: dict[Split, int] = dict.fromkeys(OPEN_SPLITS, 0) | {each["values"]: each["counts"] for each in splits}
    return rows.filter(pc.invert(is_dropped)), counts


def read_dropped_copies(lake: Lake) -> list[DroppedCopy]:
    """Return all decisions, in the order of the sounds."""
    pointer = lake.read_pointer(catalogue.DROPPED_COPIES)
    return [] if pointer is None else list(_parse_copies(lake.get_json(pointer.value["dropped"])))


def _compare(
    lake: Lake, recordings: Mapping[str, str], sounds: Mapping[Side, _SoundsByDay], changed: Mapping[Side, set[str]]
) -> Iterator[tuple[str, str, float]]:
    """Yield (train sound, held-out sound, bit errors) of each pair with a changed day; the changed side is indexed."""

    def select(side: Side, days: Iterable[str]) -> DayFingerprints:
        return DayFingerprints(lake, recordings, {day: sounds[side][day] for day in days})

    for pair in find_near_duplicates(select("held_out", changed["held_out"]), select("train", sounds["train"])):
        yield pair.found, pair.indexed, pair.bit_errors
    unchanged = sounds["held_out"].keys() - changed["held_out"]
    for pair in find_near_duplicates(select("train", changed["train"]), select("held_out", unchanged)):
        yield pair.indexed, pair.found, pair.bit_errors


def _decide(
    pairs: Iterable[tuple[str, str, float]], earlier: pa.Table, known: Mapping[str, DroppedCopy]
) -> Iterator[DroppedCopy]:
    """Yield the sound to drop of each pair (train sound, held-out sound, bit errors) that has both."""
    first_splits = dict(zip(earlier["audio_sha256"].to_pylist(), earlier["split"].to_pylist(), strict=True))
    open_pairs = [pair for pair in pairs if pair[0] not in known and pair[1] not in known]
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


def _parse_copies(body: Mapping[str, Any]) -> Iterator[DroppedCopy]:
    yield from (DroppedCopy(**each) for each in body.get("dropped", ()))


def _group_by_day(rows: pa.Table, side: Side) -> _SoundsByDay:
    found: _SoundsByDay = {}
    is_train = pc.equal(rows["split"], "train")
    part = rows.filter(is_train if side == "train" else pc.invert(is_train))
    for day, sound in zip(part["day"].to_pylist(), part["audio_sha256"].to_pylist(), strict=True):
        found.setdefault(day, []).append(sound)
    return found


def _mask_dropped(rows: pa.Table, side: Side, dropped: Mapping[str, DroppedCopy]) -> pa.ChunkedArray:
    is_train = pc.equal(rows["split"], "train")
    sounds = pa.array([name for name, each in dropped.items() if each.side == side], pa.string())
    return pc.and_(is_train if side == "train" else pc.invert(is_train), pc.is_in(rows["audio_sha256"], sounds))
