"""Tombstones: what was erased and may never come back, kept in the lake without voice, text or name.

The pointer `consent/tombstones` names one JSON object: ids of segments, sha256 of their sounds, and for each erasure a
count and the model versions that had heard the voice. It only grows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from habla_ml.errors import LakeError, PointerMovedError
from habla_ml.lake import Lake, catalogue, compute_digest

TOMBSTONES_FORMAT: Final = "habla_ml.tombstones/1"
_MAX_ATTEMPTS: Final = 20


@dataclass(frozen=True)
class Erasure:
    """One withdrawal as it is remembered."""

    contributor: str
    """Digest of the pseudonym."""
    at: str
    """When, ISO 8601 in UTC."""
    segments: int
    hours: float
    heard: tuple[str, ...]
    """Model versions that were trained on the voice."""
    tested: tuple[str, ...]
    """Model versions that were chosen by or scored on it."""


@dataclass(frozen=True)
class Tombstones:
    """Everything that was ever erased from a lake."""

    segments: frozenset[str] = frozenset()
    sounds: frozenset[str] = frozenset()
    """sha256 of the decoded samples: the same sound under another name stays out as well."""
    objects: frozenset[str] = frozenset()
    """Objects that hold the voice in a form that is not looked into, such as a session's undivided stream."""
    erasures: tuple[Erasure, ...] = ()

    def find_erasures(self, contributor: str) -> tuple[Erasure, ...]:
        """The erasures of one pseudonym."""
        return tuple(each for each in self.erasures if each.contributor == digest_contributor(contributor))


def digest_contributor(contributor: str) -> str:
    """What stands for a pseudonym in the lake."""
    return compute_digest(["habla_ml.contributor", contributor])


def read_tombstones(lake: Lake) -> Tombstones:
    """What was erased from this lake; nothing where nobody withdrew yet."""
    pointer = lake.read_pointer(catalogue.TOMBSTONES)
    return Tombstones() if pointer is None else _parse_tombstones(lake, pointer.value["tombstones"])


def add_tombstones(
    lake: Lake,
    segments: Collection[str],
    sounds: Collection[str],
    objects: Collection[str] = (),
    erasure: Erasure | None = None,
) -> Tombstones:
    """Add to the tombstones of a lake; returns all of them. Raises `LakeError` where others keep moving them."""
    for _ in range(_MAX_ATTEMPTS):
        pointer = lake.read_pointer(catalogue.TOMBSTONES)
        before = read_tombstones(lake)
        after = Tombstones(
            before.segments | set(segments),
            before.sounds | set(sounds),
            before.objects | set(objects),
            before.erasures if erasure is None else (*before.erasures, erasure),
        )
        if after == before:
            return before
        try:
            lake.move_pointer(catalogue.TOMBSTONES, {"tombstones": lake.put_json(_to_json(after))}, pointer)
        except PointerMovedError:
            continue
        return after
    raise LakeError(f"{catalogue.TOMBSTONES} was moved by others {_MAX_ATTEMPTS} times in a row; run again")


def drop_erased_rows(lake: Lake, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of segments but for the erased ones.

    A new name of an erased sound is remembered as erased too, so that what is said of that segment stays out.
    """
    erased = read_tombstones(lake)
    renamed = set()
    for row in rows:
        if row["audio_sha256"] in erased.sounds and row["segment_id"] not in erased.segments:
            renamed.add(row["segment_id"])
        elif row["segment_id"] not in erased.segments:
            yield row
    if renamed:
        add_tombstones(lake, renamed, ())


def _to_json(tombstones: Tombstones) -> dict[str, Any]:
    return {
        "format": TOMBSTONES_FORMAT,
        "segments": sorted(tombstones.segments),
        "sounds": sorted(tombstones.sounds),
        "objects": sorted(tombstones.objects),
        "erasures": [
            {**asdict(each), "heard": list(each.heard), "tested": list(each.tested)}
            for each in tombstones.erasures
        ],
    }


def _parse_tombstones(lake: Lake, object_id: str) -> Tombstones:
    body: Any = lake.get_json(object_id)
    if not isinstance(body, dict) or body.get("format") != TOMBSTONES_FORMAT:
        raise LakeError(
            f"object {object_id} holds no tombstones of format {TOMBSTONES_FORMAT}; restore {catalogue.TOMBSTONES} from a backup"
        )
    return Tombstones(
        frozenset(body["segments"]),
        frozenset(body["sounds"]),
        frozenset(body["objects"]),
        tuple(
            Erasure(**{**each, "heard": tuple(each["heard"]), "tested": tuple(each["tested"])})
            for each in body["erasures"]
        ),
    )
