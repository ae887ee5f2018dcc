"""The names in the lake of what the service receives."""

from __future__ import annotations

import re
from typing import Final

from habla_ml.lake import compute_digest

UPLOAD_SOURCE: Final = "upload"
"""Source of a clip that the service received."""

_UPLOAD_SESSION: Final = re.compile(r"upload-[0-9a-f]{12}")


def get_upload_session_id(device_id: str, session: str) -> str:
    """Return the name in the lake of a device's session.

    A digest, because the name that the app chose can name a person. It never has the form of a name of Habla's sessions.
    """
    return f"upload-{compute_digest(['habla_ml.upload_session/1', device_id, session])[:12]}"


def is_upload_session(session_id: str) -> bool:
    """Return whether a session is one of the service; the speakers of its segments are contributors, by pseudonym."""
    return _UPLOAD_SESSION.fullmatch(session_id) is not None
