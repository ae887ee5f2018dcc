"""What the lake holds of a contributor, and which model versions heard it. Reads facts and snapshots, never audio."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import pyarrow.parquet as pq

from habla_ml.consent.register import Contributor, Register
from habla_ml.corpus.snapshot import load_snapshot
from habla_ml.errors import ObjectMissingError
from habla_ml.lake import Lake
from habla_ml.recordings import load_day
from habla_ml.recordings.facts import read_facts

_COLUMNS: Final = ("segment_id", "session_id", "speaker", "audio_sha256", "duration_s")


@dataclass(frozen=True)
class Holdings:
    """Segments in the lake that are to go."""

    durations_s: Mapping[str, float]
    """Segment → its length."""
    sounds: frozenset[str]
    """sha256 of their decoded samples."""
    sessions: Mapping[str, int]
    """Session → how many of its segments are among them."""
    days: tuple[str, ...]
    streams: frozenset[str]
    """Objects with the undivided streams of these sessions."""

    @property
    def segments(self) -> frozenset[str]:
        """Their ids."""
        return frozenset(self.durations_s)

    @property
    def hours(self) -> float:
        """Their length altogether."""
        return round(sum(self.durations_s.values()) / 3600, 9)


@dataclass(frozen=True)
class Listeners:
    """Model versions that had to do with a voice."""

    heard: tuple[str, ...]
    """Trained on it."""
    tested: tuple[str, ...]
    """Chosen by it (validation), or scored on it."""


def holdings_of(lake: Lake, contributor: Contributor) -> Holdings:
    """Everything of a contributor that the lake's days hold, with all other names of the same sounds."""
    theirs = {row["audio_sha256"] for _, row in _rows(lake) if _covered(contributor, row)}
    durations_s: dict[str, float] = {}
    sessions: dict[str, int] = {}
    days: set[str] = set()
    for day, row in _rows(lake) if theirs else ():
        if row["audio_sha256"] in theirs:
            durations_s[row["segment_id"]] = row["duration_s"]
            sessions[row["session_id"]] = sessions.get(row["session_id"], 0) + 1
            days.add(day)
    held = [load_day(lake, day) for day in sorted(days)]
    streams = {each for day in held if day for name, each in day.raw_streams.items() if name in sessions}
    return Holdings(
        durations_s, frozenset(theirs), dict(sorted(sessions.items())), tuple(sorted(days)), frozenset(streams)
    )


def withdrawn_days(lake: Lake, register: Register, today: date) -> dict[str, tuple[str, ...]]:
    """Contributor whose consent is withdrawn → days on which the lake still holds them; empty where all is done."""
    withdrawn = register.withdrawn(today)
    found: dict[str, set[str]] = {}
    for day, row in _rows(lake) if withdrawn else ():
        for each in withdrawn:
            if _covered(each, row):
                found.setdefault(each.contributor, set()).add(day)
    return {name: tuple(sorted(days)) for name, days in sorted(found.items())}


def listeners_of(lake: Lake, holdings: Holdings) -> Listeners:
    """Model versions whose planned snapshot, or the snapshot of whose report, holds any of these segments."""
    heard, tested = set(), set()
    for name in lake.pointers("models/"):
        version, _, artefact = name.removeprefix("models/").partition("/")
        pointer = lake.pointer(name)
        if pointer is None or artefact not in {"plan", "report"}:
            continue
        splits = _splits_of(lake, str(pointer.value["snapshot"]), holdings)
        if artefact == "plan" and "train" in splits:
            heard.add(version)
        if "test" in splits or (artefact == "plan" and "validation" in splits):
            tested.add(version)
    return Listeners(tuple(sorted(heard)), tuple(sorted(tested)))


def _splits_of(lake: Lake, snapshot_id: str, holdings: Holdings) -> set[str]:
    """The splits of a snapshot in which these segments stand; none where an earlier erasure removed the snapshot."""
    try:
        segments = lake.get_bytes(load_snapshot(lake, snapshot_id).segments)
    except ObjectMissingError:
        return set()
    table = pq.read_table(io.BytesIO(segments), columns=["segment_id", "audio_sha256", "split"])
    return {
        row["split"]
        for row in table.to_pylist()
        if row["segment_id"] in holdings.segments or row["audio_sha256"] in holdings.sounds
    }


def _rows(lake: Lake) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in lake.pointers("recordings/"):
        day = name.removeprefix("recordings/")
        held = load_day(lake, day)
        for row in read_facts(lake, held.facts, _COLUMNS) if held else ():
            yield day, row


def _covered(contributor: Contributor, row: Mapping[str, Any]) -> bool:
    return contributor.covers(row["session_id"], row["speaker"], row["segment_id"])
