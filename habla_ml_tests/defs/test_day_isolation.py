"""One bad day, table, folder or server never fails a tick and never hides other days."""

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from habla_ml.annotation.event_log import append_events
from habla_ml.lake import catalogue
from habla_ml.recordings.days import load_day
from habla_ml.recordings.ingest import ingest_day
from habla_ml.recordings.skipped_sessions import find_skipped_sessions
from habla_ml_tests.defs.conftest import MONDAY, TUESDAY, DagsterDeployment


def copy_session(deployment: DagsterDeployment, stamp: str) -> str:
    """Copy a finished session of Monday that has corrections, under another date."""
    source = next(each.parent for each in sorted(deployment.recordings.glob("*/corrected_ground_truth.json")))
    shutil.copytree(source, deployment.recordings / f"77777_{stamp}")
    return f"77777_{stamp}"


def corrupt_pointer(deployment: DagsterDeployment, name: str) -> None:
    (path,) = (deployment.folder / "lake").glob(f"**/{name}*")
    path.write_text('{"value": 1')


STAMPS = ["tomorrow", "20990101_120000", "19700101_000010", "20200101_090000"]


def make_stamp(stamp: str) -> str:
    return (datetime.now(UTC) + timedelta(days=2)).strftime("%Y%m%d_003000") if stamp == "tomorrow" else stamp


@pytest.mark.parametrize("stamp", STAMPS)
def test_a_session_with_a_wrong_date_stops_no_day_and_is_listed(deployment: DagsterDeployment, stamp: str) -> None:
    name = copy_session(deployment, make_stamp(stamp))
    found = deployment.evaluate("new_recordings")
    assert found.partitions == [MONDAY, TUESDAY]
    skipped = find_skipped_sessions(deployment.recordings, deployment.settings, datetime.now(UTC))
    assert name in {each.session for each in skipped}
    assert (name in found.report) == (stamp != "20200101_090000")  # a day before first_day is the user's choice


@pytest.mark.parametrize("stamp", STAMPS)
def test_a_wrong_date_that_is_in_the_lake_already_stops_no_correction(ingested: DagsterDeployment, stamp: str) -> None:
    name = copy_session(ingested, make_stamp(stamp))
    day = datetime.strptime(name.split("_", 1)[1][:8], "%Y%m%d").strftime("%Y-%m-%d")
    ingest_day(ingested.recordings, day, ingested.lake(), ingested.settings, datetime.now(UTC))
    assert load_day(ingested.lake(), day) is not None
    touch_corrections(ingested, MONDAY)
    assert ingested.evaluate("new_corrections").partitions == [MONDAY]
    assert ingested.evaluate("label_studio_corrections").partitions == []


def touch_corrections(deployment: DagsterDeployment, day: str) -> None:
    path = next(deployment.recordings.glob(f"*_{day.replace('-', '')}_*/corrected_ground_truth.json"))
    os.utime(path)


def test_label_studio_and_table_days_without_a_partition_are_left_out_and_reported(
    ingested: DagsterDeployment,
) -> None:
    lake = ingested.lake()
    published = load_day(lake, MONDAY)
    assert published is not None
    monday = lake.read_pointer(catalogue.RECORDINGS.name(MONDAY))
    lake.move_pointer(catalogue.RECORDINGS.name("2099-01-01"), monday.value, None)
    append_events(lake, "2099-01-01", [], {"x": "y"})
    append_events(lake, MONDAY, [], {"x": "y"})
    pulled = {"url": "http://x", "project": 1, "until": "2026-01-01T00:00:00+00:00", "days": [MONDAY, "2099-01-01"]}
    lake.move_pointer(catalogue.LABEL_STUDIO_PULLED.name("k" * 16), pulled, None)
    found = ingested.evaluate("label_studio_corrections")
    assert "2099-01-01 is left out: it is dated 2099-01-01, after today" in found.report
    assert MONDAY not in found.report


@pytest.mark.parametrize(
    "name", [f"recordings/{MONDAY}", f"corpus/{MONDAY}", f"annotations/{MONDAY}"], ids=["recordings", "text", "events"]
)
def test_a_corrupt_pointer_affects_its_day_only(ingested: DagsterDeployment, name: str) -> None:
    for day in (MONDAY, TUESDAY):
        touch_corrections(ingested, day)
    copy_session(ingested, "20260303_210000")
    corrupt_pointer(ingested, name)
    corrections, recordings = ingested.evaluate("new_corrections"), ingested.evaluate("new_recordings")
    assert corrections.partitions == [TUESDAY]
    assert f"{MONDAY}: LakeError: pointer {name}" in corrections.report
    assert recordings.partitions == [TUESDAY]
    assert (f"{MONDAY}: LakeError" in recordings.report) == name.startswith("recordings")


def test_an_unreadable_text_gives_the_growth_sensor_a_reason(ingested: DagsterDeployment) -> None:
    corrupt_pointer(ingested, f"corpus/{MONDAY}")
    found = ingested.evaluate("corpus_growth")
    assert f"the corpus cannot be read: LakeError: pointer corpus/{MONDAY}" in found.skip_reason


@pytest.mark.long
def test_a_missing_table_hides_neither_the_other_table_nor_habla(
    tree: dict, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    good, gone = write_table(tmp_path / "good"), write_table(tmp_path / "gone")
    tree["annotation"] = {"tables": [str(gone), str(good)]}
    ingested: DagsterDeployment = request.getfixturevalue("ingested")
    gone.unlink()
    good.write_text(good.read_text())  # changed since the ingest
    touch_corrections(ingested, MONDAY)
    found = ingested.evaluate("new_corrections")
    assert found.partitions == [MONDAY, TUESDAY]
    assert f"table {gone}: InputUnavailableError" in found.report
    assert ingested.run("update_text", MONDAY).success
    assert ingested.run("update_text", TUESDAY).success


def write_table(folder: Path) -> Path:
    path = folder / "table.csv"
    path.parent.mkdir()
    path.write_text("audio,sentence\nnowhere.wav,Hola.\n", "utf-8")
    return path


@pytest.mark.parametrize("blocked", ["unmounted", "lake"])
def test_an_unreadable_place_gives_a_reason_instead_of_a_failed_tick(
    deployment: DagsterDeployment, blocked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if blocked == "unmounted":
        shutil.rmtree(deployment.recordings)
    else:
        (deployment.folder / "lake").write_text("a file where the lake should be")
    found = deployment.evaluate("new_recordings")
    assert found.partitions == []
    assert ("does not exist" if blocked == "unmounted" else "LakeError") in found.skip_reason


def test_a_session_that_cannot_be_listed_hides_no_other_session(
    deployment: DagsterDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = copy_session(deployment, "20260303_220000")
    scandir: Callable = os.scandir

    def refuse(path: str | Path) -> object:
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert deployment.evaluate("new_recordings").partitions == [MONDAY, TUESDAY]
    (skipped,) = find_skipped_sessions(deployment.recordings, deployment.settings, datetime.now(UTC))
    assert (skipped.session, skipped.reason) == (name, "cannot be listed: Permission denied; fix its permissions")
