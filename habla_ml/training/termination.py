"""The end of a training process on request: SIGTERM, as before a spot machine is taken away, and Dagster's termination.

While steps are trained, the request only sets a flag: the step ends, and a checkpoint is saved and stored. At any other
time it raises, since each stage can be interrupted anywhere.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from habla_ml.errors import TrainingInterruptedError
from habla_ml.training.exit_codes import EXIT_ENVIRONMENT

PIPES_VARIABLE: Final = "DAGSTER_PIPES_CONTEXT"
"""Dagster sets it in the environment of a training that it starts."""
NOTICE_S: Final = 110.0
"""Time to save after a request. Machines are taken away 120 s after the notice at AWS, 30 s at Google and Azure."""


class TerminationNotice:
    """Whether the process was asked to end."""

    def __init__(self) -> None:
        self.is_received = False

    def make_error(self, step: int | None) -> TrainingInterruptedError:
        """Return the error that ends the process after the checkpoint of `step` was saved; None if none was."""
        saved = "resumes at the last checkpoint" if step is None else f"resumes at step {step}, which was saved"
        return TrainingInterruptedError(f"the training was asked to end; the next run {saved}")


@contextmanager
def raise_on_termination() -> Iterator[None]:
    """Raise `TrainingInterruptedError` in the main thread when the process is asked to end."""

    def end(*_: object) -> None:
        raise TrainingInterruptedError(
            "the training process was asked to end; the next run resumes at the last checkpoint"
        )

    with _handle_signals(end):
        yield


@contextmanager
def watch_termination() -> Iterator[TerminationNotice]:
    """Yield a notice that a request to end sets; the process ends at the latest `NOTICE_S` after the request."""
    notice = TerminationNotice()
    watchdog = threading.Timer(NOTICE_S, _give_up)
    watchdog.daemon = True

    def receive(*_: object) -> None:
        if not notice.is_received:
            notice.is_received = True
            watchdog.start()

    try:
        with _handle_signals(receive):
            yield notice
    finally:
        watchdog.cancel()


@contextmanager
def _handle_signals(handler: signal._HANDLER) -> Iterator[None]:
    """Handle the requests to end with `handler`; without effect in a thread other than the main one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    requests = [signal.SIGTERM]
    if PIPES_VARIABLE in os.environ:  # Dagster passes a termination on as SIGINT
        requests.append(signal.SIGINT)
    before = {each: signal.signal(each, handler) for each in requests}
    try:
        yield
    finally:
        for each, earlier in before.items():
            signal.signal(each, earlier)


def ignore_termination(_worker: int) -> None:
    """Let a process that loads clips end with the training, and not by a SIGTERM to the whole group before it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _give_up() -> None:
    message = f"error: saving took more than {NOTICE_S:.0f} s; the next run resumes at the last stored checkpoint"
    print(message, file=sys.stderr, flush=True)
    os._exit(EXIT_ENVIRONMENT)
