"""The log of a Ray job is read whole, outages are waited out, and the end of a job is the fault of its run."""

import asyncio
import json
import os
import signal
import time
import weakref
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from habla_ml.defs.models.ray_jobs import ask_in_thread, ask_patiently, explain_end, follow_lines
from habla_ml.errors import (
    SettingsError,
    TrainingError,
    TrainingInterruptedError,
    TrainingKilledError,
    classify_fault,
)
from habla_ml.settings import load_settings, save_settings
from habla_ml.settings.models import LaunchSettings, RaySettings
from habla_ml.training.exit_codes import EXIT_ENVIRONMENT, EXIT_KILLED
from habla_ml.training.launch.ray_cluster import EndedProcess, choose_exit_code
from habla_ml.training.launch.ray_job import build_job
from habla_ml_tests.testing.habla_sessions import make_workspace

PATIENCE = RaySettings(lost_after_s=0.2)


def read_log(pieces: list[list[str | Exception]], is_over: bool = True) -> list[str]:
    """Follow a log whose connections deliver these pieces, one list each."""
    connections = iter(pieces)

    async def open_log() -> AsyncIterator[str]:
        for piece in next(connections):
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def collect() -> list[str]:
        return [line async for line in follow_lines(open_log, lambda: is_over, 0.01, 0.05)]

    return asyncio.run(collect())


def test_a_line_that_arrives_in_pieces_is_read_whole() -> None:
    message = json.dumps({"curve": list(range(10_000))})
    pieces = [message[start : start + 20_000] for start in range(0, len(message), 20_000)]
    assert len(pieces) > 2
    assert read_log([["first\n", *pieces, "\nlast\n"]]) == ["first", message, "last"]


def test_after_a_broken_connection_each_line_is_read_once() -> None:
    broken = RuntimeError("WebSocket connection closed unexpectedly")
    assert read_log([["a\nb\nc", broken], ["a\n", OSError("refused")], ["a\nb\n", "c\nd\n"]], is_over=False) == [
        *"abcd"
    ]


def test_a_log_that_never_ends_is_left_some_time_after_the_job() -> None:
    async def hang() -> AsyncIterator[str]:
        yield "a\n"
        await asyncio.Event().wait()

    async def collect() -> list[str]:
        return [line async for line in follow_lines(hang, lambda: True, 0.01, 0.05)]

    assert asyncio.run(asyncio.wait_for(collect(), 10)) == ["a"]


def test_a_short_outage_of_the_cluster_is_waited_out() -> None:
    answers = iter([ConnectionError("refused"), RuntimeError("Request failed with status code 500"), "RUNNING"])

    def ask() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert ask_patiently(ask, RaySettings(lost_after_s=60), 0.0) == "RUNNING"  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [ConnectionError("refused"), RuntimeError("code 404: job v1 does not exist")])
def test_a_lost_cluster_or_job_is_a_fault_of_the_environment(error: Exception) -> None:
    def ask() -> str:
        raise error

    with pytest.raises(TrainingInterruptedError, match=r"http://127\.0\.0\.1:8265.*resumes") as raised:
        ask_patiently(ask, PATIENCE, 0.05)  # type: ignore[arg-type]
    assert classify_fault(raised.value) == "environment"


def test_a_signal_that_comes_while_a_connection_is_closed_ends_the_run() -> None:
    class FinalizedConnection:
        pass

    def close() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)

    def ask() -> str:
        weakref.finalize(FinalizedConnection(), close)  # the finalizer runs at once
        return "RUNNING"

    with ThreadPoolExecutor(1) as threads, pytest.raises(KeyboardInterrupt):
        ask_in_thread(threads, ask)


@pytest.mark.parametrize(
    ("status", "code", "kind", "text"),
    [
        ("FAILED", EXIT_ENVIRONMENT, TrainingInterruptedError, "fault of its environment"),
        ("FAILED", None, TrainingInterruptedError, "lost its program"),
        ("FAILED", -int(signal.SIGKILL), TrainingInterruptedError, "lost its program"),
        ("FAILED", EXIT_KILLED, TrainingKilledError, "too little memory"),
        ("STOPPED", None, TrainingError, "stopped in Ray"),
        ("FAILED", 1, RuntimeError, "exit code 1"),
    ],
)
def test_the_end_of_a_job_names_its_cause(status: str, code: int | None, kind: type, text: str) -> None:
    error = explain_end(SimpleNamespace(submission_id="v1-a", status=status, driver_exit_code=code))  # type: ignore[arg-type]
    assert type(error) is kind
    assert text in str(error)


def test_the_program_of_the_job_returns_a_kill_only_if_the_last_process_was_killed() -> None:
    assert choose_exit_code(EndedProcess(1, -9)) == EXIT_KILLED
    assert choose_exit_code(EndedProcess(0, EXIT_ENVIRONMENT)) == EXIT_ENVIRONMENT
    assert choose_exit_code(None) == EXIT_ENVIRONMENT


def test_settings_and_recipe_travel_with_the_job(tmp_path: Path) -> None:
    settings = make_workspace(tmp_path).settings
    settings = settings.model_copy(
        update={"training": settings.training.model_copy(update={"launch": LaunchSettings(where="ray", processes=2)})}
    )
    saved = save_settings(settings, tmp_path / "settings")
    job = build_job(settings, ["--settings", str(saved), "--recipe", str(settings.training.recipe), "--version", "v3"])
    folder = Path(job.runtime_env["working_dir"])
    recipe = f"recipe/{settings.training.recipe.name}"
    assert job.entrypoint == (
        "exec python -m habla_ml.training.launch.ray_cluster --processes 2 "
        f"--settings settings/{saved.name} --recipe {recipe} --version v3"
    )
    assert load_settings(folder / "settings" / saved.name, {}).training == settings.training
    assert (folder / recipe).read_bytes() == settings.training.recipe.read_bytes()
    assert job.metadata == {"habla_ml/lake": settings.lake.url, "habla_ml/version": "v3"}


def test_a_cluster_needs_a_number_of_processes_and_its_own_working_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs the number of processes"):
        LaunchSettings(where="ray")
    settings = make_workspace(tmp_path).settings
    launch = LaunchSettings(where="ray", processes=2, ray=RaySettings(runtime_env={"working_dir": "."}))
    settings = settings.model_copy(update={"training": settings.training.model_copy(update={"launch": launch})})
    with pytest.raises(SettingsError, match=r"runtime_env has working_dir '\.'"):
        build_job(settings, ["--version", "v3"])
