"""The metrics of the status, and the dashboard and alerts that use them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from habla_ml.errors import SettingsError
from habla_ml.monitoring.finding import Finding
from habla_ml.monitoring.status.facts import AssetRun, FailedWork, OrchestratorFacts
from habla_ml.monitoring.status.loop_status import SECTIONS, LoopStatus, StatusSection
from habla_ml.monitoring.status.metrics import METRICS, build_metrics, write_metrics
from habla_ml.service.observe import RequestMetrics

DEPLOY = Path(__file__).parents[3] / "deploy"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
FACTS = OrchestratorFacts(
    heartbeat_at=NOON,
    silent_daemons=(),
    active=(),
    failed=(FailedWork("update_text", "2026-02-17", "LakeError", NOON, 4, "later"),),
    ticks=(),
    asset_runs=(AssetRun("splits", True, NOON, 12.5), AssetRun("raw_recordings", False, NOON, 3.0)),
)


def make_status(*findings: Finding) -> LoopStatus:
    return LoopStatus("local", NOON, (StatusSection("Now", findings),))


def read_samples(registry: CollectorRegistry) -> dict[str, float]:
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, _, value in (each.rpartition(" ") for each in lines if each[0] != "#")}


@pytest.fixture
def full_status() -> LoopStatus:
    """A status with every figure."""
    subjects = {each.subject for each in METRICS}
    values = {
        subject: {each.key: 2 for each in METRICS if each.subject == subject}
        | {"version": "v2", "release": "2026.11.21-v2"}
        for subject in subjects
    }
    signature = Finding("signature", "ok", "", "", {"until": NOON.isoformat()})
    return make_status(*(Finding(each, "ok", "", "", values[each]) for each in sorted(subjects)), signature)


def test_figures_have_their_unit_and_unknown_ones_are_absent() -> None:
    status = make_status(
        Finding("disk", "ok", "5 GB free", "", {"free_gb": 5.25}),
        Finding("recordings", "ok", "", "", {"waiting": 3, "live": 1, "hours": 0.5}),
        Finding("Habla's folder", "ok", "", "", {"folders": 8, "limit": 16, "folders_left": None}),
    )
    samples = read_samples(build_metrics(status, None))
    assert samples["habla_status_timestamp_seconds"] == NOON.timestamp()
    assert samples["habla_disk_free_bytes"] == 5.25e9
    assert samples['habla_sessions{state="waiting"}'] == 3
    assert samples["habla_session_oldest_wait_seconds"] == 1800
    assert samples["habla_recordings_folders_limit"] == 16
    assert "habla_recordings_folders_until_loss" not in samples
    assert "habla_failed_work" not in samples
    assert "habla_released_model_wer_ratio" not in samples


def test_the_last_run_of_each_asset_has_its_result_and_duration() -> None:
    samples = read_samples(build_metrics(make_status(), FACTS))
    assert samples["habla_failed_work"] == 1
    assert samples['habla_asset_last_run_success{asset="splits"}'] == 1
    assert samples['habla_asset_last_run_success{asset="raw_recordings"}'] == 0
    assert samples['habla_asset_last_run_duration_seconds{asset="splits"}'] == 12.5
    assert samples['habla_asset_last_run_timestamp_seconds{asset="splits"}'] == NOON.timestamp()


def test_wrong_lines_count_for_their_part_and_no_name_becomes_a_label() -> None:
    status = make_status(
        Finding("failed run", "wrong", "update_text", "", {"partition": "3A_Marta"}),
        Finding("failed run", "wrong", "ingest_day", ""),
        Finding("skipped session", "wrong", "Marta", "", {"session": "3A_Marta"}),
        Finding("corpus_growth", "wrong", "its last evaluation failed", ""),
    )
    registry = build_metrics(status, FACTS)
    samples = read_samples(registry)
    found = {name: value for name, value in samples.items() if name.startswith("habla_status_wrong_lines") and value}
    assert found == {
        'habla_status_wrong_lines{part="failed runs"}': 2,
        'habla_status_wrong_lines{part="skipped sessions"}': 1,
        'habla_status_wrong_lines{part="sensors and schedules"}': 1,
    }
    assert samples['habla_status_wrong_lines{part="disk"}'] == 0
    assert b"Marta" not in generate_latest(registry)
    assert b"2026-02-17" not in generate_latest(registry)


def test_the_file_is_replaced_whole_and_another_user_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "habla_ml.prom"
    for free_gb in (1, 2):
        write_metrics(path, make_status(Finding("disk", "ok", "", "", {"free_gb": free_gb})), FACTS)
    assert "habla_disk_free_bytes 2e+09" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(SettingsError, match=r"ends in \.prom"):
        write_metrics(tmp_path / "metrics.txt", make_status(), None)
    with pytest.raises(SettingsError, match="create its folder"):
        write_metrics(tmp_path / "missing" / "habla_ml.prom", make_status(), None)


def read_expressions() -> dict[str, str]:
    """Return the expressions of the dashboard and of the alerts, by place."""
    panels = json.loads((DEPLOY / "grafana" / "habla_ml.json").read_text("utf-8"))["panels"]
    shown = {
        f"{each['title']} {target['refId']}": target["expr"] for each in panels for target in each.get("targets", ())
    }
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text("utf-8"))["groups"]
    return shown | {each["alert"]: each["expr"] for group in groups for each in group["rules"]}


def test_dashboard_and_alerts_use_only_metrics_and_labels_that_exist(full_status: LoopStatus) -> None:
    service = RequestMetrics()
    service.requests.labels("GET", "/healthz", "200").inc()
    service.seconds.labels("GET", "/healthz").observe(0.1)
    service.received.labels("/healthz").inc(1)
    exported = {**read_samples(build_metrics(full_status, FACTS)), **read_samples(service.registry)}
    names = {each.partition("{")[0] for each in exported}
    used = {place: set(re.findall(r"\bhabla_\w+(?!\w*\")", each)) for place, each in read_expressions().items()}
    assert {place: found - names for place, found in used.items() if found - names} == {}
    shown = set().union(*(used[place] for place in used if not place.startswith("Habla")))
    pipeline = {each.name for each in METRICS} | {"habla_released_model_info", "habla_status_wrong_lines"}
    assert pipeline - shown <= {"habla_recordings_folders", "habla_recordings_folders_limit"} | {
        "habla_review_queue_age_seconds",
        "habla_set_aside",
    }


def test_alerts_name_parts_of_the_status() -> None:
    parts = {subject for _, found in SECTIONS for subject, _ in found}
    named = {part for each in read_expressions().values() for part in re.findall(r'part="([^"]+)"', each)}
    assert named
    assert named <= parts


def test_prometheus_accepts_the_file_and_the_alerts(tmp_path: Path, full_status: LoopStatus) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: apt-get install -y --no-install-recommends prometheus, then run again")
    write_metrics(tmp_path / "habla_ml.prom", full_status, replace(FACTS, failed=()))
    with (tmp_path / "habla_ml.prom").open() as metrics:
        subprocess.run([promtool, "check", "metrics"], stdin=metrics, check=True)
    subprocess.run([promtool, "test", "rules", str(DEPLOY / "prometheus" / "alerts_test.yaml")], check=True)
