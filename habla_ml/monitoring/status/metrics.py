"""The status as metrics for Prometheus, in a file that node_exporter's textfile collector reads.

No metric has a name of a person, a spoken word, a session or a path. Labels are subjects of the status, assets, states and
versions, which come from the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from habla_ml.errors import SettingsError
from habla_ml.monitoring.finding import Finding
from habla_ml.monitoring.status.facts import OrchestratorFacts
from habla_ml.monitoring.status.loop_status import SECTIONS, LoopStatus

_SUFFIX: Final = ".prom"


@dataclass(frozen=True)
class StatusMetric:
    """A figure of the status as a metric."""

    name: str
    help: str
    subject: str
    """Subject of the line that has the figure."""
    key: str
    factor: float = 1.0
    """From the figure's unit to the metric's."""
    state: str = ""
    """Value of the label `state`, where several figures share a name."""


_GB: Final = 1e9
_HOUR_S: Final = 3600.0
METRICS: Final = (
    StatusMetric(
        "habla_daemon_heartbeat_age_seconds",
        "Since Dagster's daemon was last alive",
        "daemon",
        "seconds_since_heartbeat",
    ),
    StatusMetric("habla_runs", "Active runs", "runs", "running", state="running"),
    StatusMetric("habla_runs", "Active runs", "runs", "queued", state="queued"),
    StatusMetric("habla_day_partitions", "Days with recordings", "lake", "days", state="in_lake"),
    StatusMetric("habla_day_partitions", "Days with recordings", "corrections", "days", state="unread_corrections"),
    StatusMetric("habla_day_partitions", "Days with recordings", "text of the corpus", "days", state="outdated_text"),
    StatusMetric("habla_corpus_seconds", "Corrected speech of the corpus", "next version", "corpus_hours", _HOUR_S),
    StatusMetric(
        "habla_next_version_speech_seconds", "Corrected speech since the last version", "next version", "hours", _HOUR_S
    ),
    StatusMetric(
        "habla_next_version_needed_speech_seconds",
        "Speech that starts a training",
        "next version",
        "hours_needed",
        _HOUR_S,
    ),
    StatusMetric("habla_released_model_wer_ratio", "Word error rate of the released model", "released model", "wer"),
    StatusMetric("habla_base_model_wer_ratio", "Word error rate of its base", "released model", "base_wer"),
    StatusMetric("habla_recordings_folders", "Folders that Habla keeps", "Habla's folder", "folders"),
    StatusMetric("habla_recordings_folders_limit", "Above it, Habla deletes the oldest", "Habla's folder", "limit"),
    StatusMetric(
        "habla_recordings_folders_until_loss",
        "New sessions until Habla deletes one that is not in the lake; absent while there is none",
        "Habla's folder",
        "folders_left",
    ),
    StatusMetric("habla_sessions", "Sessions that are not in the lake", "recordings", "waiting", state="waiting"),
    StatusMetric("habla_sessions", "Sessions that are not in the lake", "recordings", "live", state="live"),
    StatusMetric(
        "habla_session_oldest_wait_seconds", "Wait of the oldest finished session", "recordings", "hours", _HOUR_S
    ),
    StatusMetric("habla_clips", "Received clips that are not in the lake", "uploads", "waiting", state="waiting"),
    StatusMetric(
        "habla_clips",
        "Received clips that are not in the lake",
        "uploads",
        "waiting_for_consent",
        state="waiting_for_consent",
    ),
    StatusMetric("habla_clip_oldest_wait_seconds", "Wait of the oldest received clip", "uploads", "hours", _HOUR_S),
    StatusMetric("habla_review_segments_left", "Segments left in the review queue", "review queue", "left"),
    StatusMetric("habla_review_queue_age_seconds", "Age of the review queue", "review queue", "age_days", 24 * _HOUR_S),
    StatusMetric("habla_set_aside", "Inputs that were set aside", "files set aside", "files", state="files"),
    StatusMetric("habla_set_aside", "Inputs that were set aside", "uploads set aside", "clips", state="clips"),
    StatusMetric(
        "habla_set_aside", "Inputs that were set aside", "uploads set aside", "corrections", state="corrections"
    ),
    StatusMetric("habla_disk_free_bytes", "Free space of the work folder's disk", "disk", "free_gb", _GB),
)


def build_metrics(status: LoopStatus, facts: OrchestratorFacts | None) -> CollectorRegistry:
    """Return the metrics of a status; a figure that is unknown is absent."""
    registry = CollectorRegistry()
    findings = {each.subject: each for section in status.sections for each in section.findings}
    Gauge("habla_status_timestamp_seconds", "When the status was read", registry=registry).set(
        status.taken_at.timestamp()
    )
    gauges: dict[str, Gauge] = {}
    for metric in METRICS:
        value = _read_figure(findings, metric)
        if value is None:
            continue
        if metric.name not in gauges:
            labels = ("state",) if metric.state else ()
            gauges[metric.name] = Gauge(metric.name, metric.help, labels, registry=registry)
        gauge = gauges[metric.name]
        (gauge.labels(metric.state) if metric.state else gauge).set(value)
    _add_lines(registry, status)
    _add_release(registry, findings)
    _add_orchestrator(registry, facts)
    return registry


def write_metrics(path: Path, status: LoopStatus, facts: OrchestratorFacts | None) -> None:
    """Replace the file `path` by the metrics; raises `SettingsError` if it cannot be written."""
    if path.suffix != _SUFFIX:
        raise SettingsError(f"{path} is not read by node_exporter; choose a name that ends in {_SUFFIX}")
    try:
        write_to_textfile(str(path), build_metrics(status, facts))
        path.chmod(0o644)  # node_exporter is another user
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written ({error.strerror}); create its folder, or fix its rights"
        ) from error


def _read_figure(findings: dict[str, Finding], metric: StatusMetric) -> float | None:
    found = findings.get(metric.subject)
    value = None if found is None else found.values.get(metric.key)
    return value * metric.factor if isinstance(value, int | float) else None


def _add_lines(registry: CollectorRegistry, status: LoopStatus) -> None:
    """Add how many lines of each part of the status need a person."""
    gauge = Gauge("habla_status_wrong_lines", "Lines of the status that need a person", ("part",), registry=registry)
    parts = {subject for _, parts in SECTIONS for subject, _ in parts}
    for part in parts:
        gauge.labels(part).set(0)
    for each in status.problems:
        gauge.labels(_find_part(each, parts)).inc()


def _find_part(finding: Finding, parts: set[str]) -> str:
    """Return the part of a line: its own subject, or the part whose lines have other subjects."""
    if finding.subject in parts:
        return finding.subject
    plural = f"{finding.subject}s"
    return plural if plural in parts else "sensors and schedules"


def _add_release(registry: CollectorRegistry, findings: dict[str, Finding]) -> None:
    released, signature = findings.get("released model"), findings.get("signature")
    version = None if released is None else released.values.get("version")
    if released is not None and version is not None:
        info = Gauge("habla_released_model_info", "The released model", ("version", "release"), registry=registry)
        info.labels(str(version), str(released.values.get("release"))).set(1)
    until = None if signature is None else signature.values.get("until")
    if isinstance(until, str):
        expiry = Gauge(
            "habla_signature_expiry_timestamp_seconds", "Until when apps trust the channel", registry=registry
        )
        expiry.set(datetime.fromisoformat(until).timestamp())


def _add_orchestrator(registry: CollectorRegistry, facts: OrchestratorFacts | None) -> None:
    if facts is None:
        return
    Gauge("habla_failed_work", "Jobs and partitions whose newest run failed", registry=registry).set(len(facts.failed))
    labels = ("asset",)
    ended = Gauge("habla_asset_last_run_timestamp_seconds", "When its last run ended", labels, registry=registry)
    duration = Gauge("habla_asset_last_run_duration_seconds", "Duration of its last run", labels, registry=registry)
    success = Gauge("habla_asset_last_run_success", "Whether its last run succeeded", labels, registry=registry)
    for each in facts.asset_runs:
        ended.labels(each.asset).set(each.ended_at.timestamp())
        duration.labels(each.asset).set(each.duration_s)
        success.labels(each.asset).set(each.has_succeeded)
