"""What the page Estado shows, as data. What only Dagster knows is left out: the service does not import it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from habla_ml.errors import HablaError
from habla_ml.evaluation.comparison.records import ModelScore
from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
from habla_ml.lake import Lake, catalogue
from habla_ml.model_version import parent_version, version_number
from habla_ml.monitoring.finding import Finding
from habla_ml.monitoring.status.inputs import StatusInputs
from habla_ml.monitoring.status.loop_status import LoopStatus, read_loop_status
from habla_ml.release.channel import Channel, read_channel
from habla_ml.service.pages.layout import mark_message
from habla_ml.service.state import ServiceState

_MOST_VERSIONS: Final = 5
_ORCHESTRATOR_SUBJECTS: Final = ("daemon", "runs", "failed runs", "sensors and schedules")
_COUNTS: Final[Mapping[str, tuple[str, str]]] = {
    "to_correct": ("review queue", "left"),
    "classes": ("recordings", "waiting"),
    "classes_now": ("recordings", "live"),
    "classes_without_consent": ("consent", "sessions"),
    "days_of_corrections": ("corrections", "days"),
    "clips": ("uploads", "waiting"),
    "clips_without_consent": ("uploads", "waiting_for_consent"),
    "unusable_classes": ("skipped sessions", "sessions"),
    "unusable_files": ("files set aside", "files"),
    "unusable_clips": ("uploads set aside", "clips"),
    "unusable_corrections": ("uploads set aside", "corrections"),
}
"""Name on the page → subject and figure of a line of the status."""
_PROBLEMS: Final[Mapping[str, str]] = {
    "lake": mark_message("The store of the recordings cannot be read."),
    "released model": mark_message("The released version makes more mistakes than before."),
    "signature": mark_message("Phones soon install no new version, because its signature expires."),
    "Habla's folder": mark_message("Habla will soon delete recordings that are not saved yet."),
    "disk": mark_message("The disk is almost full. New recordings and trainings stop."),
    "recordings": mark_message("Finished classes have been waiting too long to be read."),
    "uploads": mark_message("Clips from phones have been waiting too long to be read."),
    "dataset on the Hub": mark_message("A withdrawn voice can still be in a dataset on the internet."),
    "review queue": mark_message("The list of clips to correct is out of date."),
    "skipped sessions": mark_message("Some classes could not be read."),
    "files set aside": mark_message("Some files could not be used."),
    "tables": mark_message("A table of transcripts could not be used."),
    "uploads set aside": mark_message("Some clips from phones could not be used."),
}
_OTHER_PROBLEM: Final = mark_message("Part of the state cannot be read.")


@dataclass(frozen=True)
class StatusProblem:
    """A line that needs a person, in words for teachers, with the line for engineers."""

    message: str
    finding: Finding


@dataclass(frozen=True)
class Growth:
    """Hours of corrected speech."""

    hours: float
    """Since the last version."""
    hours_needed: float
    corpus_hours: float


@dataclass(frozen=True)
class VersionSummary:
    """A model version as a teacher sees it."""

    version: str
    verdict: str
    wrong_words: float | None
    """Words recognised wrongly of 100, by this version; None where nothing was measured."""
    base_wrong_words: float | None
    is_released: bool
    """Whether phones and classrooms get it now."""
    was_released: bool
    """Whether they ever got it."""


@dataclass(frozen=True)
class OtherRelease:
    """A release to which the channel can be moved."""

    version: str
    model_version: str
    released_at: datetime


@dataclass(frozen=True)
class ReleaseSummary:
    """The channel of releases at one moment."""

    version: str
    model_version: str
    released_at: datetime
    sequence: int
    """Number of the last move; a rollback is refused if there was another one since."""
    was_rolled_back: bool
    others: tuple[OtherRelease, ...]
    """Newest first."""


@dataclass(frozen=True)
class StatusSummary:
    """Everything on the page; None or empty where it is unknown."""

    taken_at: datetime
    growth: Growth | None
    counts: Mapping[str, int]
    """By the names of `_COUNTS`."""
    problems: tuple[StatusProblem, ...]
    versions: tuple[VersionSummary, ...]
    release: ReleaseSummary | None

    def choose_next_step(self, rights: Collection[str]) -> str:
        """Return what a person with these rights does next: `problem`, `correct`, `consents`, `training` or `record`."""
        if self.problems:
            return "problem"
        if "correct" in rights and self.counts["to_correct"]:
            return "correct"
        if "consents" in rights and self.counts["classes_without_consent"]:
            return "consents"
        is_enough = self.growth is not None and self.growth.hours >= self.growth.hours_needed
        return "training" if is_enough else "record"


def read_status_summary(state: ServiceState) -> StatusSummary:
    """Read everything; a part that cannot be read is a problem on the page."""
    status = read_loop_status(
        StatusInputs(state.settings, state.read_clock(), lambda: state.lake, lambda: state.release_store, lambda: None)
    )
    values = {each.subject: each.values for section in status.sections for each in section.findings}
    growth = _read_growth(values.get("next version", {}))
    counts = {name: int(values.get(subject, {}).get(key) or 0) for name, (subject, key) in _COUNTS.items()}
    problems = tuple(_list_problems(status))
    release = _read_release(state)
    versions = _read_versions(state, release)
    return StatusSummary(status.taken_at, growth, counts, problems, versions, release)


def _list_problems(status: LoopStatus) -> Iterator[StatusProblem]:
    for each in status.problems:
        if each.subject not in _ORCHESTRATOR_SUBJECTS:
            is_unknown = each.found.startswith("unknown")
            yield StatusProblem(_OTHER_PROBLEM if is_unknown else _PROBLEMS.get(each.subject, _OTHER_PROBLEM), each)


def _read_release(state: ServiceState) -> ReleaseSummary | None:
    try:
        channel = read_channel(state.release_store, state.settings.release.channel)
    except HablaError:
        return None  # The line of the released model says why.
    current = channel.current
    if current is None:
        return None
    return ReleaseSummary(
        current.version,
        current.model_version,
        current.released_at,
        current.sequence,
        current.move == "rollback",
        tuple(_list_others(channel)),
    )


def _list_others(channel: Channel) -> Iterator[OtherRelease]:
    for each in reversed(channel.releases):
        if channel.current is not None and each.manifest_sha256 != channel.current.manifest_sha256:
            yield OtherRelease(each.version, each.model_version, each.released_at)


def _read_versions(state: ServiceState, release: ReleaseSummary | None) -> tuple[VersionSummary, ...]:
    try:
        known = [each for each in catalogue.REPORT.keys(state.lake) if parent_version(each) is None]
        newest = sorted(known, key=version_number, reverse=True)[:_MOST_VERSIONS]
        return tuple(_summarise_version(state.lake, each, release) for each in newest)
    except HablaError:
        return ()


def _summarise_version(lake: Lake, version: str, release: ReleaseSummary | None) -> VersionSummary:
    pointer = lake.read_pointer(catalogue.REPORT.name(version))
    comparison = read_stored_comparison(lake, version)
    verdict = "" if pointer is None else str(pointer.value.get("verdict", ""))
    candidate, base = comparison.model("candidate"), comparison.model("base")
    is_released = release is not None and release.model_version == version
    was_released = release is not None and any(each.model_version == version for each in release.others)
    return VersionSummary(
        version,
        verdict,
        _count_wrong_words(candidate),
        _count_wrong_words(base),
        is_released,
        is_released or was_released,
    )


def _count_wrong_words(model: ModelScore | None) -> float | None:
    return None if model is None or model.wer.value is None else 100 * model.wer.value


def _read_growth(values: Mapping[str, Any]) -> Growth | None:
    return Growth(values["hours"], values["hours_needed"], values["corpus_hours"]) if values else None
