"""Tombstones: the erased segments that must never return, stored in the lake without voice, text or name.

The pointer `consent/tombstones` names one JSON object with segment ids, sha256 of sounds and, for each erasure, counts
and the model versions that used the voice. It only grows, and notes up to where the lake is rid of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from habla_ml.errors import LakeError, PointerMovedError
from habla_ml.lake import Lake, catalogue, compute_digest
from habla_ml.names import canonical_name

TOMBSTONES_FORMAT: Final = "habla_ml.tombstones/1"
_MAX_ATTEMPTS: Final = 20
_STORED_KEYS: Final = {"trained": "heard", "evaluated": "tested"}


@dataclass(frozen=True)
class Erasure:
    """The record of one withdrawal."""

    contributor: str
    """Digest of the pseudonym."""
    at: str
    """ISO 8601 in UTC."""
    segments: int
    hours: float
    trained: tuple[str, ...]
    evaluated: tuple[str, ...]
    """Model versions that were chosen by or scored on it."""
    hub_datasets: tuple[str, ...] = ()
    """Repositories of the Hub that had the voice."""


@dataclass(frozen=True)
class Tombstones:
    """Everything that was ever erased from a lake."""

    segments: frozenset[str] = frozenset()
    sounds: frozenset[str] = frozenset()
    """sha256 of the decoded samples, to recognise the same sound under another name."""
    objects: frozenset[str] = frozenset()
    """Objects that contain the voice but are not searched, such as raw streams."""
    erasures: tuple[Erasure, ...] = ()
    applied: str = ""
    """`digest` when an erasure last moved all pointers: none led to any of them then."""

    @property
    def digest(self) -> str:
        """Digest of what is erased."""
        return compute_digest(["habla_ml.erased", *map(sorted, (self.segments, self.sounds, self.objects))])[:32]

    @property
    def are_applied(self) -> bool:
        """Whether no pointer leads to any of them. An erasure writes its tombstones first, and moves the pointers later."""
        return self.applied == self.digest or not (self.segments or self.sounds or self.objects)

    def find_erasures(self, contributor: str) -> tuple[Erasure, ...]:
        """Return the erasures of one pseudonym in whatever spelling."""
        # Earlier versions stored the digest of the name as typed.
        digests = {digest_contributor(contributor), _digest_name(contributor)}
        return tuple(each for each in self.erasures if each.contributor in digests)


def digest_contributor(contributor: str) -> str:
    """Return the digest that represents a pseudonym in the lake, equal for all its spellings."""
    return _digest_name(canonical_name(contributor))


def read_tombstones(lake: Lake) -> Tombstones:
    """Read the tombstones of a lake; empty before the first erasure."""
    pointer = lake.read_pointer(catalogue.TOMBSTONES)
    return Tombstones() if pointer is None else _parse_tombstones(lake, pointer.value["tombstones"])


def add_tombstones(
    lake: Lake,
    segments: Collection[str],
    sounds: Collection[str],
    objects: Collection[str] = (),
    erasure: Erasure | None = None,
) -> Tombstones:
    """Add tombstones to a lake; return all of them. Raises `LakeError` if other processes keep moving them."""
    return _change_tombstones(lake, Tombstones(frozenset(segments), frozenset(sounds), frozenset(objects)), erasure)


def mark_applied(lake: Lake, erased: Tombstones) -> None:
    """Note that no pointer leads to any of these any more.

    The object of the tombstones thus differs from the one in a backup that was made before, and can have the voice.
    Raises `LakeError` if other processes keep moving them.
    """
    _change_tombstones(lake, erased, applied=erased)


def _change_tombstones(
    lake: Lake, added: Tombstones, erasure: Erasure | None = None, applied: Tombstones | None = None
) -> Tombstones:
    for _ in range(_MAX_ATTEMPTS):
        pointer = lake.read_pointer(catalogue.TOMBSTONES)
        before = read_tombstones(lake)
        after = Tombstones(
            before.segments | added.segments,
            before.sounds | added.sounds,
            before.objects | added.objects,
            before.erasures if erasure is None else (*before.erasures, erasure),
            before.applied if applied is None else applied.digest,
        )
        if after == before:
            return before
        try:
            lake.move_pointer(catalogue.TOMBSTONES, {"tombstones": lake.put_json(_to_json(after))}, pointer)
        except PointerMovedError:
            continue
        return after
    raise LakeError(
        f"other processes moved the pointer {catalogue.TOMBSTONES} {_MAX_ATTEMPTS} times in a row; run again"
    )


def drop_erased_rows(lake: Lake, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the rows of segments that are not erased; give erased sounds with a new segment id a tombstone too."""
    erased = read_tombstones(lake)
    renamed = set()
    for row in rows:
        if row["audio_sha256"] in erased.sounds and row["segment_id"] not in erased.segments:
            renamed.add(row["segment_id"])
        elif row["segment_id"] not in erased.segments:
            yield row
    if renamed:
        add_tombstones(lake, renamed, ())


def _digest_name(name: str) -> str:
    return compute_digest(["habla_ml.contributor", name])


def _to_json(tombstones: Tombstones) -> dict[str, Any]:
    return {
        "format": TOMBSTONES_FORMAT,
        "segments": sorted(tombstones.segments),
        "sounds": sorted(tombstones.sounds),
        "objects": sorted(tombstones.objects),
        "erasures": [
            {_STORED_KEYS.get(key, key): value for key, value in vars(each).items()} for each in tombstones.erasures
        ],
        "applied": tombstones.applied,
    }


def _parse_tombstones(lake: Lake, object_id: str) -> Tombstones:
    body: Any = lake.get_json(object_id)
    if not isinstance(body, dict) or body.get("format") != TOMBSTONES_FORMAT:
        fault = f"object {object_id} contains no tombstones of format {TOMBSTONES_FORMAT}"
        raise LakeError(f"{fault}; restore {catalogue.TOMBSTONES} from a backup")
    erasures = tuple(
        Erasure(
            trained=tuple(each.pop("heard")),
            evaluated=tuple(each.pop("tested")),
            hub_datasets=tuple(each.pop("hub_datasets", ())),
            **each,
        )
        for each in body["erasures"]
    )
    segments, sounds, objects = (frozenset(body[key]) for key in ("segments", "sounds", "objects"))
    return Tombstones(segments, sounds, objects, erasures, body.get("applied", ""))
