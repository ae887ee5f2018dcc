"""The settings of a deployment: all sections, and the rules between them."""

from __future__ import annotations

import shlex
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, Self
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from habla_ml.settings.base import Cron, Day, LocalPath, SettingsSection, TimeZone
from habla_ml.settings.cron import is_weekly
from habla_ml.settings.data import (
    AnnotationSettings,
    ConsentSettings,
    CorpusSettings,
    QualitySettings,
    RecordingsSettings,
    ReviewSettings,
    SplitSettings,
    StoreSettings,
)
from habla_ml.settings.models import (
    AdviceSettings,
    EvaluationSettings,
    ExportSettings,
    MonitoringSettings,
    PromotionSettings,
    ReleaseSettings,
    TrainingSettings,
    TranscriptionSettings,
)
from habla_ml.settings.service import ServiceSettings

DEFAULT_PROFILE: Final = "local"
"""The profile of a command without `-p` and HABLA_PROFILE."""


def format_command(profile_option: str, *arguments: str) -> str:
    """Return the shell command `habla-ml …` with `-p` unless the profile is the default."""
    profile = [] if profile_option == DEFAULT_PROFILE else ["-p", profile_option]
    return shlex.join(["habla-ml", *arguments, *profile])


class AutomationSettings(SettingsSection):
    """What starts the pipeline without a person."""

    growth_hours: Annotated[float, Field(gt=0)] = 10.0
    quarterly_cron: Cron = "0 3 1 */3 *"
    retrain_every_weeks: Annotated[int, Field(ge=1, le=52)] = 1
    """Of a weekly `quarterly_cron`, each n-th week counts: 2 trains strictly every 14 days, over the year's end too."""
    retrain_weeks_from: Day = date(2026, 1, 5)
    """A day in a week that counts; weeks are counted from it, so that restarts do not shift them."""
    sensor_interval_s: Annotated[int, Field(ge=1)] = 60
    retry_after_s: Annotated[float, Field(gt=0)] = 60.0
    """Wait after the first failed run of a day or a training; it doubles after each further one."""
    longest_retry_s: Annotated[float, Field(gt=0)] = 3600.0

    @model_validator(mode="after")
    def _require_weekly_cron(self) -> Self:
        if self.retrain_every_weeks > 1 and not is_weekly(self.quarterly_cron):
            raise ValueError(
                f"retrain_every_weeks is {self.retrain_every_weeks}, but quarterly_cron {self.quarterly_cron!r} does "
                "not fire exactly once a week; set it to a weekday and a time, such as '0 3 * * 1'"
            )
        return self

    def find_training_day(self, day: date) -> date:
        """Return the first day of the schedule's weekday in a week that counts, `day` or later."""
        weeks = (day - self.retrain_weeks_from).days // 7
        return day + timedelta(weeks=-weeks % self.retrain_every_weeks)


class CleanupSettings(SettingsSection):
    """When `habla-ml gc` and its schedule remove what nothing needs.

    `grace_days` must be longer than the longest run, because a run may still read what was superseded since its start.
    """

    grace_days: Annotated[float, Field(ge=3)] = 7.0
    cron: Cron = "0 4 * * 0"


class Settings(SettingsSection):
    """All settings of a deployment."""

    profile: str
    profile_option: str = DEFAULT_PROFILE
    """What `-p` must be to load this profile: its name, or its path where it is not in the configs folder."""
    time_zone: TimeZone = "Europe/Madrid"
    work_folder: LocalPath
    lake: StoreSettings
    recordings: RecordingsSettings
    annotation: AnnotationSettings = AnnotationSettings()
    corpus: CorpusSettings
    consent: ConsentSettings = ConsentSettings()
    splits: SplitSettings = SplitSettings()
    quality: QualitySettings = QualitySettings()
    training: TrainingSettings
    evaluation: EvaluationSettings = EvaluationSettings()
    transcription: TranscriptionSettings = TranscriptionSettings()
    promotion: PromotionSettings = PromotionSettings()
    advice: AdviceSettings = AdviceSettings()
    export: ExportSettings = ExportSettings()
    release: ReleaseSettings
    review: ReviewSettings = ReviewSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    automation: AutomationSettings = AutomationSettings()
    cleanup: CleanupSettings = CleanupSettings()
    service: ServiceSettings = ServiceSettings()

    @model_validator(mode="after")
    def _require_separate_forgetting_set(self) -> Self:
        measured = {each.path for each in self.evaluation.out_of_domain}
        for key in ("replay", "first_stage"):
            for shared in (each.path for each in getattr(self.training, key) if each.path in measured):
                raise ValueError(
                    f"training.{key} and evaluation.out_of_domain are both {shared}; training speech cannot measure "
                    "forgetting: set two different tables"
                )
        return self

    @model_validator(mode="after")
    def _require_hub_to_continue_from(self) -> Self:
        if self.training.continue_from is not None and self.release.hub.repository is None:
            raise ValueError(
                f"training.continue_from is {self.training.continue_from}, but release.hub.repository is not set; set it "
                "to the repository with that version"
            )
        return self

    def command(self, *arguments: str) -> str:
        """Return the shell command `habla-ml …` for this deployment."""
        return format_command(self.profile_option, *arguments)

    @property
    def service_folder(self) -> Path:
        """The folder of the service's own state."""
        return self.service.folder or self.work_folder.parent / "service"

    @property
    def keys_folder(self) -> Path:
        """The folder of the private keys that sign releases."""
        return self.release.keys_folder or self.work_folder.parent / "keys"

    @property
    def zone(self) -> ZoneInfo:
        """The zone of Habla's naive times and of the day partitions."""
        return ZoneInfo(self.time_zone)

    def format_day(self, moment: datetime) -> str:
        """Return the day of a moment as a person in `zone` reads it."""
        return f"{moment.astimezone(self.zone):%Y-%m-%d}"

    def format_minute(self, moment: datetime) -> str:
        """Return a moment as a person in `zone` reads it."""
        return f"{moment.astimezone(self.zone):%Y-%m-%d %H:%M}"
