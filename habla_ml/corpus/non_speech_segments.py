"""Segments that people marked as non-speech: those of the test split test a model, those of train train it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from habla_ml.lake.shards import find_rows
from habla_ml.lake.table import read_table

if TYPE_CHECKING:
    from habla_ml.corpus.snapshot import Snapshot, Split
    from habla_ml.lake import Lake

NO_SPEECH_REASONS: Final = frozenset(
    ("no speech", "nobody speaks", "silence", "noise", "breath", "no habla nadie", "silencio", "ruido", "respiración")
)
"""Reasons for `unusable` that mean non-speech; case, hyphens and underscores do not matter."""
NO_SPEECH_MARKERS: Final = frozenset({"[silence]", "[noise]", "[silencio]", "[ruido]"})
"""A text of only these markers means the same: Habla's own page has no `unusable`."""
MAX_NON_SPEECH_SEGMENTS: Final = 200
_COLUMNS: Final = ["segment_id", "session_id", "audio_sha256", "duration_s", "audio"]


@dataclass(frozen=True)
class NonSpeechSegment:
    """A segment of the corpus without speech."""

    segment_id: str
    session_id: str
    audio_sha256: str
    """sha256 of the 16 kHz PCM."""
    duration_s: float
    flac: bytes


def read_non_speech_segments(
    lake: Lake, snapshot: Snapshot, split: Split, most: int, max_duration_s: float
) -> Iterator[NonSpeechSegment]:
    """Yield the non-speech segments of the split's sessions, by day.

    The event in the snapshot's text decides: `unusable` with only reasons of `NO_SPEECH_REASONS` (never private or
    overlapping speech), or a text of only `NO_SPEECH_MARKERS`.

    At most `most` segments: those with the smallest ids, which are a random sample since ids are hashes. Of them,
    segments longer than `max_duration_s` are excluded.
    """
    sessions = {name for name, of in lake.get_json(snapshot.ledger)["groups"].items() if of == split}
    found: dict[str, str] = {}
    for day in snapshot.corpus:
        found.update(dict.fromkeys(_find_non_speech(lake, snapshot, day, sessions), day))
    taken = dict(sorted(found.items())[:most])
    for day in sorted(set(taken.values())):
        wanted = {segment_id for segment_id, on in taken.items() if on == day}
        recordings = snapshot.recordings[day]
        for group in find_rows(lake, recordings, "segment_id", wanted.__contains__, _COLUMNS, by_ranges=True):
            for row in group.rows.to_pylist():
                if row["duration_s"] <= max_duration_s:
                    yield NonSpeechSegment(flac=row.pop("audio"), **row)


def is_non_speech(text: str, status: str, reason: str) -> bool:
    """Return whether an annotation marks its segment as non-speech."""
    if status == "unusable":
        reasons = {re.sub(r"[-_\s]+", " ", each).strip().casefold() for each in reason.split(",")} - {""}
        return bool(reasons) and reasons <= NO_SPEECH_REASONS
    markers = re.findall(r"\[[^\[\]]*\]", text)
    rest = re.sub(r"\[[^\[\]]*\]|[\s.,…]", "", text)
    return bool(markers) and not rest and {each.casefold() for each in markers} <= NO_SPEECH_MARKERS


def _find_non_speech(lake: Lake, snapshot: Snapshot, day: str, sessions: Collection[str]) -> list[str]:
    """Return the ids of the day's non-speech segments.

    The snapshot's text has the id of the deciding event, the log has the event's reason.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from habla_ml.annotation.event_log import load_events, read_event_table

    text = read_table(lake, snapshot.corpus[day], ["session_id", "event_id", "problem"])
    in_sessions = pc.is_in(text["session_id"], pa.array(sorted(sessions), pa.string()))
    text = text.filter(pc.and_(in_sessions, pc.is_valid(text["problem"])))
    logged = load_events(lake, day)
    if not text.num_rows or logged is None:
        return []
    events = read_event_table(lake, logged.parquet)
    events = events.filter(pc.is_in(events["event_id"], text["event_id"].combine_chunks()))
    return [row["segment_id"] for row in events.to_pylist() if is_non_speech(row["text"], row["status"], row["reason"])]
