"""The demo's phone sends its homework through the real service, and the sensors bring it into the corpus."""

from __future__ import annotations

import io
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console

from habla_ml.definitions import build_definitions
from habla_ml.demo.homework import HOMEWORK_CLIPS, PSEUDONYM
from habla_ml.demo.run_demo import DemoRun, upload_homework
from habla_ml.demo.service_process import run_service
from habla_ml.errors import HablaError
from habla_ml.lake.factory import open_lake, open_store
from habla_ml.recordings.days import load_day
from habla_ml.recordings.segments import read_segment_metadata
from habla_ml.release.publish import publish_release
from habla_ml.settings import Settings
from habla_ml_tests.testing.deployment_settings import PROJECT, write_settings
from habla_ml_tests.testing.release_drafts import make_draft, make_release_files

SATURDAY = "2026-03-07"


def write_demo_settings(folder: Path) -> Settings:
    recordings = {"folder": "recordings", "first_day": "2026-02-02"}
    return write_settings(folder, recordings=recordings, consent={"documents": str(PROJECT / "configs/consents")})


@pytest.mark.slow
def test_the_homework_of_a_phone_becomes_text_of_the_corpus(tmp_path: Path) -> None:
    settings, printed = write_demo_settings(tmp_path), io.StringIO()
    files = make_release_files(tmp_path, "v2")
    publish_release(open_store(settings.release.store), None, "stable", make_draft("v2"), files)
    with dg.DagsterInstance.ephemeral() as instance:
        run = DemoRun(Console(file=printed, width=200), settings, build_definitions(settings), instance)
        upload_homework(run, tmp_path)
        assert run.request_runs("new_uploads") == []
        filters = dg.AssetRecordsFilter(dg.AssetKey("annotated_corpus"), asset_partitions=[SATURDAY])
        (record,) = instance.fetch_materializations(filters, limit=1).records
    assert record.asset_materialization is not None
    assert record.asset_materialization.metadata["usable"].value == HOMEWORK_CLIPS
    published = load_day(open_lake(settings.lake, tmp_path / "cache"), SATURDAY)
    assert published is not None
    rows = list(read_segment_metadata(open_lake(settings.lake, tmp_path / "cache"), published.metadata))
    assert len(rows) == HOMEWORK_CLIPS
    assert {(row["source"], row["speaker"]) for row in rows} == {("upload", PSEUDONYM)}
    assert f"{HOMEWORK_CLIPS} clips and {HOMEWORK_CLIPS} corrections of a phone" in printed.getvalue()
    assert "the phone is offered v2\n" in printed.getvalue()
    assert list((tmp_path / "phone" / "clips").iterdir()) == []


@pytest.mark.long
def test_a_service_that_does_not_start_is_an_error_with_its_log(tmp_path: Path) -> None:
    settings = write_demo_settings(tmp_path)
    (tmp_path / "configs" / "here.yaml").write_text("service: {port: none}")
    with pytest.raises(HablaError, match=r"read .*service\.log"), run_service(settings, tmp_path / "service.log"):
        pass
    assert "port" in (tmp_path / "service.log").read_text()
