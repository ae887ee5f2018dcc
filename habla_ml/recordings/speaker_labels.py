"""Speaker labels: which ones mean the same person in every session.

Habla's tracker writes "Speaker A", "Speaker B" and so on, diarisation writes "SPEAKER_00". Both count from the start
in each session, so the same label in two sessions need not be the same person. A name that a teacher typed or
enrolled is one person everywhere, in every spelling (`habla_ml.names`). So is the label of an uploaded clip, whatever it
looks like: it is a contributor's pseudonym.
"""

from __future__ import annotations

import re
from typing import Final

from habla_ml.names import canonical_name
from habla_ml.recordings.upload_names import is_upload_session

UNKNOWN_SPEAKER: Final = "unknown"
"""Label of a segment without a speaker."""

_TRACKER_LABEL: Final = re.compile(r"(?:speaker|spk|hablante|unknown|desconocido)[ _-]*[a-z0-9]{0,3}", re.IGNORECASE)
_LOCAL_LABEL: Final = re.compile(rf"(?:{_TRACKER_LABEL.pattern}|[a-z]|\d*)", re.IGNORECASE)


def is_tracker_label(label: str) -> bool:
    """Return whether programs give a label to voices of any session: "Speaker A", "SPEAKER_00", "unknown"."""
    return _TRACKER_LABEL.fullmatch(canonical_name(label)) is not None


def is_local_speaker_label(session_id: str, label: str | None) -> bool:
    """Return whether a label is local to its session, or names no one: "Speaker A", "SPEAKER_00", "unknown", ""."""
    name = canonical_name(label or "")
    if is_upload_session(session_id):
        return name in ("", UNKNOWN_SPEAKER)
    return _LOCAL_LABEL.fullmatch(name) is not None


def global_speaker(session_id: str, label: str | None) -> str:
    """Return a key, to compare only, that is equal for two segments if their labels name one person in both."""
    name = canonical_name(label or "")
    return f"{session_id}/{name}" if is_local_speaker_label(session_id, name) else name
