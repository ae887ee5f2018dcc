"""What a tick without news costs on S3: a number of requests that does not depend on the number of days."""

from __future__ import annotations

import uuid
from pathlib import Path

import dagster as dg
import httpx
import pytest

from habla_ml.definitions import build_definitions
from habla_ml.lake.factory import open_lake
from habla_ml_tests.defs.conftest import DagsterDeployment
from habla_ml_tests.testing.label_studio_api import LOGIN, serve_label_studio
from habla_ml_tests.testing.quiet_days import QuietDays, make_quiet_settings, write_quiet_days
from habla_ml_tests.testing.s3_clients import BUCKET, new_client

SENSORS = ("new_recordings", "new_corrections", "label_studio_corrections", "corpus_growth", "loop_alerts")
MOST_REQUESTS = 10
"""Of one tick; one listing of S3 has a thousand days."""


def count_requests_of_ticks(root: Path, s3_endpoint: str, days: int) -> dict[str, dict[str, int]]:
    """Return sensor → requests of a tick, where an earlier tick has read everything."""
    root.mkdir()
    with serve_label_studio() as api:
        where = {"url": f"s3://{BUCKET}/{uuid.uuid4().hex}", "endpoint_url": s3_endpoint, "region": "us-east-1"}
        settings = make_quiet_settings(root, where, api.url)
        lake = open_lake(settings.lake, settings.work_folder / "cache", new_client(s3_endpoint))
        write_quiet_days(lake, settings, api, QuietDays(days * 5 // 2, imported_days=days // 2))
        with dg.DagsterInstance.ephemeral(tempdir=str(root)) as instance:
            deployment = DagsterDeployment(root, settings, build_definitions(settings), instance)

            def tick(sensor: str) -> dict[str, int]:
                httpx.get(f"{s3_endpoint}/.requests")
                assert deployment.evaluate(sensor).partitions == [], sensor
                found: dict[str, int] = httpx.get(f"{s3_endpoint}/.requests").json()
                return found

            return [{sensor: tick(sensor) for sensor in SENSORS} for _ in range(2)][1]


@pytest.mark.slow
def test_a_tick_without_news_reads_no_pointer_of_a_day(
    tmp_path: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("LABEL_STUDIO_TOKEN", LOGIN)
    few, many = (count_requests_of_ticks(tmp_path / str(days), s3_endpoint, days) for days in (6, 18))
    assert few == many
    assert {request for requests in many.values() for request in requests} == {"LIST", "GET"}
    totals = {sensor: sum(requests.values()) for sensor, requests in many.items()}
    assert totals["new_recordings"] == 1
    assert max(totals.values()) <= MOST_REQUESTS, totals
