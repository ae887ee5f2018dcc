"""Problems of an input, bounded: the first ones of each file are listed, the others counted."""

from __future__ import annotations

from collections import defaultdict

from habla_ml.recordings.sessions import CORRECTIONS_FILE, GROUND_TRUTH_FILE, METADATA_FILE, Skipped

MAX_LISTED_PROBLEMS = 20
"""Problems listed of each JSON file of a session, and of all its other files together."""
_OWN_GROUP = (METADATA_FILE, GROUND_TRUTH_FILE, CORRECTIONS_FILE)


class ProblemLog:
    """Collects problems; a file with 200,000 faults costs no more memory than one with 20."""

    def __init__(self) -> None:
        self._listed: dict[tuple[str, str], list[Skipped]] = defaultdict(list)
        self._unlisted: dict[tuple[str, str], int] = defaultdict(int)

    def append(self, problem: Skipped) -> None:
        """Add a problem."""
        group = (problem.session, problem.file if problem.file in _OWN_GROUP else "")
        if len(self._listed[group]) < MAX_LISTED_PROBLEMS:
            self._listed[group].append(problem)
        else:
            self._unlisted[group] += 1

    def list_problems(self) -> tuple[Skipped, ...]:
        """Return the listed problems by group, in the order of their discovery, and one line for the others of a group."""
        found: list[Skipped] = []
        for (session, file), listed in self._listed.items():
            found += listed
            if more := self._unlisted[session, file]:
                others = "in other files of the session" if not file else "like these"
                found.append(Skipped(session, file, f"and {more:,} more problems {others}"))
        return tuple(found)
