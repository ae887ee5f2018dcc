"""A job for tests of the run launcher: one step that waits for a file, and may ignore requests to stop."""

import signal
import time
from pathlib import Path

import dagster as dg


class WaitConfig(dg.Config):
    """The file to wait for, and whether to ignore SIGINT."""

    go_ahead: str
    ignore_interrupts: bool = False


@dg.op
def wait_for_file(config: WaitConfig) -> None:
    if config.ignore_interrupts:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    Path(f"{config.go_ahead}.waiting").touch()
    while not Path(config.go_ahead).exists():
        time.sleep(0.05)


@dg.job(executor_def=dg.in_process_executor)
def wait_job() -> None:
    wait_for_file()
