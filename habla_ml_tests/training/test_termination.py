"""Requests to end: noted while steps are trained, raised otherwise, and bounded in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from torch.utils.data import DataLoader

from habla_ml.errors import TrainingInterruptedError, classify_fault
from habla_ml.training.exit_codes import EXIT_ENVIRONMENT
from habla_ml.training.termination import PIPES_VARIABLE, ignore_termination, raise_on_termination, watch_termination

SLOW_SAVE = """
import os, signal, time
from habla_ml.training import termination

termination.NOTICE_S = 0.2
with termination.watch_termination() as notice:
    os.kill(os.getpid(), signal.SIGTERM)
    assert notice.is_received
    time.sleep(60)
"""


def test_a_request_while_steps_are_trained_is_noted_and_later_ones_raise_again() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with raise_on_termination():
        with watch_termination() as notice:
            assert not notice.is_received
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            assert notice.is_received
        with pytest.raises(TrainingInterruptedError) as raised:
            os.kill(os.getpid(), signal.SIGTERM)
    assert classify_fault(raised.value) == "environment"
    assert signal.getsignal(signal.SIGTERM) == before


def test_dagster_passes_its_request_on_as_sigint(monkeypatch: pytest.MonkeyPatch) -> None:
    with watch_termination() as notice, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert not notice.is_received
    monkeypatch.setenv(PIPES_VARIABLE, "a context")
    with watch_termination() as notice:
        os.kill(os.getpid(), signal.SIGINT)
    assert notice.is_received


def test_a_process_that_cannot_save_in_time_ends() -> None:
    ended = subprocess.run([sys.executable, "-c", SLOW_SAVE], capture_output=True, text=True, check=False, timeout=50)
    assert ended.returncode == EXIT_ENVIRONMENT, ended.stderr
    assert ended.stderr.startswith("error: saving took more than 0 s; the next run resumes at")


def test_processes_that_load_clips_survive_a_request_to_the_whole_group() -> None:
    items = iter(DataLoader(range(4), num_workers=1, prefetch_factor=1, worker_init_fn=ignore_termination))
    first = next(items)
    for worker in items._workers:
        os.kill(worker.pid, signal.SIGTERM)
    assert [int(each) for each in (first, *items)] == [0, 1, 2, 3]
