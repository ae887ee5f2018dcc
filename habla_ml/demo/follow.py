"""What a run is doing, in a terminal: steps as they start and end, and what they say in between."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg
from rich.console import Console

_POLL_S = 0.5
_SHOWN = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE}


@dataclass
class Stages:
    """Seconds each step took, by run and step; filled while runs are followed."""

    seconds: dict[tuple[str, str], float] = field(default_factory=dict)


@contextmanager
def followed(
    instance: dg.DagsterInstance, run_id: str, name: str, console: Console, stages: Stages
) -> Iterator[None]:
    """Print the run's steps and messages while the body runs; `name` stands in front of each line."""
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(instance, run_id, name, console, stages, ended))
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _watch(
    instance: dg.DagsterInstance, run_id: str, name: str, console: Console, stages: Stages, ended: threading.Event
) -> None:
    cursor, started = None, {}
    while True:
        last_round = ended.is_set()
        connection = instance.get_records_for_run(run_id, cursor=cursor)
        cursor = connection.cursor
        for record in connection.records:
            entry = record.event_log_entry
            step, event = entry.step_key or "", entry.dagster_event
            if event is None and entry.user_message and int(entry.level) < logging.ERROR:
                console.print(f"  [dim]{name} {step}[/dim] {entry.user_message}", highlight=False)
            if event is None or event.event_type not in _SHOWN or "check" in step:
                continue
            if event.event_type == dg.DagsterEventType.STEP_START:
                started[step] = entry.timestamp
                console.print(f"  [cyan]{name} {step}[/cyan] …")
            elif step in started:
                stages.seconds[name, step] = entry.timestamp - started[step]
                done = (
                    "[green]done[/green]"
                    if event.event_type == dg.DagsterEventType.STEP_SUCCESS
                    else "[red]failed[/red]"
                )
                console.print(f"  [cyan]{name} {step}[/cyan] {done} in {stages.seconds[name, step]:.1f} s")
        if last_round and not connection.has_more:
            return
        if not connection.has_more:
            time.sleep(_POLL_S)
