"""Print the progress of a Dagster run: start and end of steps, and their log messages."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from rich.console import Console

_POLL_S = 0.5
_STEP_LABELS = {
    dg.DagsterEventType.STEP_START: "…",
    dg.DagsterEventType.STEP_SUCCESS: "[green]done[/green]",
    dg.DagsterEventType.STEP_FAILURE: "[red]failed[/red]",
}


@contextmanager
def print_run_events(instance: dg.DagsterInstance, run_id: str, name: str, console: Console) -> Iterator[None]:
    """Print steps and messages of the run while the body runs. `name` prefixes each line."""
    ended = threading.Event()
    watcher = threading.Thread(target=_poll_events, args=(instance, run_id, name, console, ended))
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _poll_events(
    instance: dg.DagsterInstance, run_id: str, name: str, console: Console, ended: threading.Event
) -> None:
    cursor = None
    while True:
        is_last_poll = ended.is_set()
        connection = instance.get_records_for_run(run_id, cursor=cursor)
        cursor = connection.cursor
        for record in connection.records:
            line = _format_event(record.event_log_entry)
            if line:
                console.print(f"  [cyan]{name}[/cyan] {line}", highlight=False, soft_wrap=True)
        if is_last_poll and not connection.has_more:
            return
        if not connection.has_more:
            time.sleep(_POLL_S)


def _format_event(entry: dg.EventLogEntry) -> str | None:
    """Return the line for an event, or None."""
    step, event = entry.step_key or "", entry.dagster_event
    if event is not None:
        word = _STEP_LABELS.get(event.event_type)
        return f"{step} {word}" if word and step in _PRINTED_STEPS else None
    if entry.user_message and step and int(entry.level) < logging.ERROR and not entry.user_message.startswith("["):
        return f"[dim]{step}: {entry.user_message}[/dim]"
    return None


_PRINTED_STEPS = frozenset(
    ("splits", "fine_tuned_checkpoint", "ctranslate2_model", "wer_report", "coreml_zip", "cdn_release")
)
