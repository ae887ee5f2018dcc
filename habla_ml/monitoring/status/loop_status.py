"""The whole status: its sections, its figures and its JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from habla_ml.errors import IsolatedError, isolate
from habla_ml.monitoring.finding import Finding
from habla_ml.monitoring.status import corpus_lines, input_lines, orchestrator_lines, storage_lines, upload_lines
from habla_ml.monitoring.status.inputs import StatusInputs

_Describe = Callable[[StatusInputs], Iterator[Finding]]
SECTIONS: Final[tuple[tuple[str, tuple[tuple[str, _Describe], ...]], ...]] = (
    (
        "Now",
        (
            ("daemon", orchestrator_lines.describe_daemon),
            ("runs", orchestrator_lines.describe_runs),
            ("lake", storage_lines.describe_lake),
            ("next version", corpus_lines.describe_growth),
            ("released model", storage_lines.describe_release),
            ("newest version", storage_lines.describe_newest_version),
            ("signature", storage_lines.describe_signature),
            ("Habla's folder", storage_lines.describe_deletion),
            ("disk", storage_lines.describe_disk),
        ),
    ),
    (
        "Waiting",
        (
            ("recordings", corpus_lines.describe_recordings),
            ("uploads", upload_lines.describe_waiting_uploads),
            ("corrections", corpus_lines.describe_text),
            ("consent", corpus_lines.describe_consent),
            ("dataset on the Hub", corpus_lines.describe_hub_datasets),
            ("review queue", corpus_lines.describe_review),
        ),
    ),
    (
        "Failed or set aside",
        (
            ("failed runs", orchestrator_lines.describe_failures),
            ("skipped sessions", input_lines.describe_skipped_sessions),
            ("files set aside", input_lines.describe_skipped_files),
            ("tables", input_lines.describe_tables),
            ("uploads set aside", upload_lines.describe_set_aside_uploads),
        ),
    ),
    ("Next", (("sensors and schedules", orchestrator_lines.describe_next),)),
)
"""Title of a section → subject and function of its lines."""


_FIGURES: Final = (
    ("hours until the next version", "next version", "hours_left"),
    ("hours towards the next version", "next version", "hours"),
    ("sessions waiting", "recordings", "waiting"),
    ("uploads waiting", "uploads", "waiting"),
    ("folders until a loss", "Habla's folder", "folders_left"),
    ("review segments left", "review queue", "left"),
    ("free GB", "disk", "free_gb"),
)
"""Label, subject and key of a figure."""


@dataclass(frozen=True)
class StatusSection:
    """Lines under a title."""

    title: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class LoopStatus:
    """The state of the loop at one moment."""

    profile: str
    taken_at: datetime
    sections: tuple[StatusSection, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The lines that need a person."""
        return tuple(each for section in self.sections for each in section.findings if each.health == "wrong")

    @property
    def summary(self) -> str:
        """One sentence: what is wrong, or that nothing is."""
        if not self.problems:
            return "The loop runs; nothing needs you."
        subjects = dict.fromkeys(each.subject for each in self.problems)
        count = len(self.problems)
        return f"{count} {'line needs' if count == 1 else 'lines need'} you: {', '.join(subjects)}."

    @property
    def figures(self) -> dict[str, float]:
        """The figures that are worth a chart; one that is unknown is missing."""
        found = {each.subject: each.values for section in self.sections for each in section.findings}
        chosen = {label: found.get(subject, {}).get(key) for label, subject, key in _FIGURES}
        return {label: value for label, value in chosen.items() if isinstance(value, int | float)}

    def to_json(self) -> dict[str, Any]:
        """Return the status as JSON values."""
        return {
            "profile": self.profile,
            "taken_at": self.taken_at.isoformat(timespec="seconds"),
            "summary": self.summary,
            "sections": {
                section.title: [{**asdict(each), "values": dict(each.values)} for each in section.findings]
                for section in self.sections
            },
        }


def read_loop_status(inputs: StatusInputs) -> LoopStatus:
    """Read every line; a part that cannot be read is a line that says so."""
    shown: dict[str, str] = {}
    sections = [
        StatusSection(
            title, tuple(each for subject, read in parts for each in _read_part(subject, read, inputs, shown))
        )
        for title, parts in SECTIONS
    ]
    return LoopStatus(inputs.settings.profile, inputs.now, tuple(sections))


def _read_part(subject: str, read: _Describe, inputs: StatusInputs, shown: dict[str, str]) -> list[Finding]:
    """Return the lines of a part; `shown` has the subject of each error that was shown, so that each is shown once."""
    errors: list[IsolatedError] = []
    findings: list[Finding] = []
    with isolate(subject, errors):
        findings += read(inputs)
    for each in errors:
        if each.message in shown:
            findings.append(Finding(subject, "note", f"unknown, see {shown[each.message]}"))
            continue
        shown[each.message] = subject
        name, _, message = each.message.partition(": ")
        found, _, step = message.partition("; ")
        findings.append(Finding(subject, "wrong", f"unknown: {found or name}", step))
    return findings
