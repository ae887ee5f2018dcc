"""What the lines of the status read from; everything is opened at its first use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from habla_ml.errors import HablaError
from habla_ml.lake import Lake, Store
from habla_ml.monitoring.status.facts import OrchestratorFacts
from habla_ml.recordings.unsaved_sessions import FolderSurvey, survey_folder
from habla_ml.settings import Settings


@dataclass(frozen=True)
class StatusInputs:
    """A deployment at one moment."""

    settings: Settings
    now: datetime
    """An aware time."""
    open_lake: Callable[[], Lake]
    open_release_store: Callable[[], Store]
    read_orchestrator: Callable[[], OrchestratorFacts | None]
    """Returns None where there is no DAGSTER_HOME."""

    @property
    def lake(self) -> Lake:
        """The lake; raises the `HablaError` of its first opening each time, without waiting for a server again."""
        opened = self._opened_lake
        if isinstance(opened, HablaError):
            raise opened
        return opened

    @cached_property
    def _opened_lake(self) -> Lake | HablaError:
        try:
            return self.open_lake()
        except HablaError as error:
            return error

    @cached_property
    def survey(self) -> FolderSurvey:
        """What of Habla's folder is not in the lake, with the errors of `survey_folder`."""
        return survey_folder(self.lake, self.settings, self.now)

    @cached_property
    def orchestrator(self) -> OrchestratorFacts | None:
        """What Dagster knows; None where there is no DAGSTER_HOME."""
        return self.read_orchestrator()

    def format_time(self, moment: datetime) -> str:
        """Return a time in the zone of the settings, without the date if it is today."""
        local, today = moment.astimezone(self.settings.zone), self.now.astimezone(self.settings.zone)
        return f"{local:%H:%M}" if local.date() == today.date() else f"{local:%a %d %b %Y %H:%M}"

    def format_age(self, moment: datetime) -> str:
        """Return how long ago a time was, in words."""
        return format_duration((self.now - moment).total_seconds())


def format_duration(seconds: float) -> str:
    """Return a duration in its largest unit, such as `3 h`."""
    if seconds < 90:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"


def format_count(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 day` or `2 days`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
