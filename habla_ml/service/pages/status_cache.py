"""The state of the deployment, read once in a while by a worker for everybody who opens the page Estado."""

from __future__ import annotations

from datetime import datetime, timedelta
from threading import Lock
from typing import Final

from habla_ml.service.pages.status_summary import StatusSummary, read_status_summary
from habla_ml.service.state import ServiceState

_LIFETIME: Final = timedelta(seconds=30)


class StatusCache:
    """The summary, read at most once in 30 s. Several threads may use it; they wait for one reading."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state
        self._lock = Lock()
        self._found: StatusSummary | None = None

    def read(self, least_sequence: int = 0) -> StatusSummary:
        """Return the summary, read anew if it is old or from before a move of the release.

        `least_sequence` is the number of the move that the person made. Another worker has made it, so only this number
        says that the summary of this worker is from before.
        """
        now = self._state.read_clock()
        if (found := self._found) is not None and _is_usable(found, now, least_sequence):
            return found
        with self._lock:
            if (found := self._found) is None or not _is_usable(found, now, least_sequence):
                self._found = found = read_status_summary(self._state)
            return found


def _is_usable(summary: StatusSummary, now: datetime, least_sequence: int) -> bool:
    sequence = 0 if summary.release is None else summary.release.sequence
    return abs(now - summary.taken_at) < _LIFETIME and sequence >= least_sequence
