"""Pseudonyms of speakers and sessions in a pushed dataset.

A label of Habla, an enrolled name and the name of a session can name a person, and so can an id that is a digest of
them: a person who guesses the name can confirm it. A pseudonym here is a digest of a sound that the dataset has anyway, so it
says nothing more. The same corpus gives the same pseudonyms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from habla_ml.corpus.snapshot import OPEN_SPLITS, Snapshot
from habla_ml.lake import Lake, compute_digest
from habla_ml.lake.shards import iterate_batches
from habla_ml.recordings.speaker_labels import UNKNOWN_SPEAKER

_DIGITS: Final = 12
_Key = TypeVar("_Key")
SpeakerKey = tuple[str, str]
"""Session and label; the session is empty for an enrolled person, who is the same in all sessions."""


class Pseudonyms:
    """The pseudonyms of one snapshot."""

    def __init__(self, sessions: Mapping[str, str], speakers: Mapping[SpeakerKey, str]) -> None:
        """Take the first sound of each session and of each speaker, as its sha256."""
        self._sessions = {name: _make_pseudonym("session", sound) for name, sound in sessions.items()}
        self._speakers = {key: _make_pseudonym("speaker", sound) for key, sound in speakers.items()}

    def name_session(self, session_id: str) -> str:
        """Return the pseudonym of a session."""
        return self._sessions[session_id]

    def name_speaker(self, session_id: str, label: str, role: str) -> str:
        """Return the pseudonym of a speaker; empty for an unknown one."""
        return "" if label == UNKNOWN_SPEAKER else self._speakers[_make_key(session_id, label, role)]


def make_pseudonyms(lake: Lake, snapshot: Snapshot) -> Pseudonyms:
    """Return the pseudonyms of the open splits; reads a few columns of the snapshot's table."""
    sessions: dict[str, str] = {}
    speakers: dict[SpeakerKey, str] = {}
    for batch in iterate_batches(lake, snapshot.segments, ["split", "session_id", "speaker", "audio_sha256", "role"]):
        for row in batch.to_pylist():
            if row["split"] in OPEN_SPLITS:
                _keep_first(sessions, row["session_id"], row["audio_sha256"])
                key = _make_key(row["session_id"], row["speaker"], row.get("role") or "")
                _keep_first(speakers, key, row["audio_sha256"])
    return Pseudonyms(sessions, speakers)


def _make_key(session_id: str, label: str, role: str) -> SpeakerKey:
    return ("" if role else session_id, label)


def _keep_first(sounds: dict[_Key, str], key: _Key, sound: str) -> None:
    sounds[key] = min(sound, sounds.get(key, sound))


def _make_pseudonym(kind: str, sound: str) -> str:
    return f"{kind}-{compute_digest(['habla_ml.hub_dataset/1', kind, sound])[:_DIGITS]}"
