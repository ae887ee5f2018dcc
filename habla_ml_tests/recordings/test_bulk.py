"""The bulk import: many days at once, killed and resumed, with one day's fault reported and survived."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from habla_ml.errors import InputError
from habla_ml.recordings import ingest_day
from habla_ml.recordings.bulk import import_with_progress
from habla_ml.settings import save_settings
from habla_ml_tests.recordings.world import NOW, World, age, make_world, write_session

DAYS = [f"2026-03-{number:02d}" for number in range(1, 13)]


def fill(world: World, segments: int = 3) -> None:
    for number, day in enumerate(DAYS):
        for lesson in range(2):
            name = f"{number}{lesson}_{day.replace('-', '')}_{9 + lesson:02d}0000"
            age(write_session(world.recordings, name, segments, seconds=0.2), 48)


def objects(world: World) -> set[str]:
    return {path.name for path in (world.root / "lake" / "objects").rglob("*") if path.is_file()}


def pointers(world: World) -> dict[str, str]:
    return {
        name: str(pointer.value["parquet"])
        for name in world.lake.pointers("recordings/")
        if (pointer := world.lake.pointer(name)) is not None
    }


def quiet() -> Console:
    return Console(file=io.StringIO())


@contextmanager
def importing(world: World) -> Iterator[subprocess.Popen[bytes]]:
    profile = save_settings(world.settings, world.root / "profile")
    command = [sys.executable, "-c", "from habla_ml.cli import main; main()", "import", str(world.recordings)]
    process = subprocess.Popen(
        [*command, "--processes", "2", "-p", str(profile)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_killed_and_run_again_it_ends_with_the_same_objects_and_leaves_no_process(tmp_path: Path) -> None:
    world, whole = make_world(tmp_path / "a"), make_world(tmp_path / "b")
    fill(world, 30)
    fill(whole, 30)
    import_with_progress(whole.recordings, whole.settings, 1, quiet())
    with importing(world) as process:
        while not pointers(world):
            time.sleep(0.005)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        psutil.wait_procs(children, timeout=10)
        assert not [each for each in children if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    assert 0 < len(pointers(world)) < len(DAYS)
    with importing(world) as process:
        said = process.communicate()[0].decode()
        assert process.returncode == 0, said
    assert "days were there already" in said
    assert pointers(world) == pointers(whole)
    assert objects(whole) == objects(world)


def test_one_days_fault_is_told_and_the_other_days_are_there(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    fill(world)
    blocked = tmp_path / "lake" / "pointers" / "recordings" / f"{DAYS[4]}.json"
    blocked.mkdir(parents=True)
    done = import_with_progress(world.recordings, world.settings, 2, quiet())
    assert [each.day for each in done.failed] == [DAYS[4]]
    assert "PointerMovedError" in done.failed[0].error
    assert [each.day for each in done.imported] == [day for day in DAYS if day != DAYS[4]]
    assert (done.imported[0].sessions, done.imported[0].segments) == (2, 6)
    assert done.imported[0].hours == pytest.approx(6 * 0.2 / 3600, abs=1e-8)
    blocked.rmdir()
    again = import_with_progress(world.recordings, world.settings, 2, quiet())
    assert ([each.day for each in again.imported], again.failed, again.unchanged_days) == ([DAYS[4]], (), 11)


def test_the_import_gives_what_ingesting_each_day_gives_and_leaves_early_days(tmp_path: Path) -> None:
    world = make_world(tmp_path / "a", recordings={"first_day": DAYS[2]})
    one_by_one = make_world(tmp_path / "b")
    fill(world)
    fill(one_by_one)
    done = import_with_progress(world.recordings, world.settings, 2, quiet())
    assert (len(done.imported), done.early_days) == (10, 2)
    assert "2 days lie before recordings.first_day" in done.summary
    for day in DAYS[2:]:
        ingest_day(one_by_one.recordings, day, one_by_one.lake, one_by_one.settings, NOW)
    assert pointers(world) == pointers(one_by_one)


def test_a_folder_that_is_no_recordings_folder_is_a_clear_error(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    with pytest.raises(InputError, match="holds no folder named"):
        import_with_progress(world.recordings, world.settings, 1, quiet())
    with pytest.raises(InputError, match="cannot be listed"):
        import_with_progress(tmp_path / "nowhere", world.settings, 1, quiet())
