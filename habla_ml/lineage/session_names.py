"""Names of sessions in answers: those that can hold the name of a speaker are replaced by a digest."""

from __future__ import annotations

import re
from typing import Final

from habla_ml.lake import compute_digest
from habla_ml.recordings.sessions import parse_session_day
from habla_ml.recordings.upload_names import is_upload_session

_DIGEST_NAME: Final = re.compile(r"session-[0-9a-f]{12}")


def show_session(session_id: str) -> str:
    """Return the name of a session of Habla or of the service as it is, and `session-<digest>` for any other.

    A session of a table is named by the table and the speaker of its rows.
    """
    if parse_session_day(session_id) is not None or is_upload_session(session_id):
        return session_id
    return f"session-{compute_digest(['habla_ml.lineage_session/1', session_id])[:12]}"


def is_session_named(session_id: str, name: str) -> bool:
    """Return whether a person who asks for `name` means this session."""
    return session_id == name or (_DIGEST_NAME.fullmatch(name) is not None and show_session(session_id) == name)
