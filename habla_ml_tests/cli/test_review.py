"""`habla-ml review` without a queue, and its output for programs."""

from __future__ import annotations

import json
from pathlib import Path

from habla_ml.lake.factory import open_lake
from habla_ml_tests.testing.command_line import run_habla_ml
from habla_ml_tests.testing.deployment_settings import write_settings
from habla_ml_tests.testing.recorded_days import SimulatedSegment, publish_recordings


def test_without_a_queue_the_json_is_empty_and_no_file_is_promised(tmp_path: Path) -> None:
    write_settings(tmp_path)
    option = ("-p", str(tmp_path / "configs" / "here.yaml"))
    shown = run_habla_ml("review", *option)
    assert (shown.returncode, "run `habla-ml review --choose" in shown.stdout) == (0, True)
    assert json.loads(run_habla_ml("review", "--json", *option).stdout) == []
    for target in ("--export", "--write"):
        found = run_habla_ml("review", target, str(tmp_path / "queue.csv"), *option)
        assert (found.returncode, "there is no review queue yet" in found.stderr) == (1, True)


def test_options_that_exclude_each_other_are_refused() -> None:
    for options in (("--json", "--export", "q.csv"), ("--export", "q.csv", "--write", "q"), ("--person", "ana")):
        found = run_habla_ml("review", *options)
        assert (found.returncode, "; give " in found.stderr) == (1, True)


def test_a_queue_that_is_chosen_now_is_json(tmp_path: Path) -> None:
    settings = write_settings(tmp_path)
    spoken = [SimulatedSegment("clase", number, seconds=3.0) for number in range(1, 5)]
    publish_recordings(open_lake(settings.lake, tmp_path / "cache"), "2026-11-27", spoken, tmp_path)
    found = run_habla_ml("review", "--choose", "--json", "-p", str(tmp_path / "configs" / "here.yaml"))
    assert {each["session"] for each in json.loads(found.stdout)} == {"clase"}
