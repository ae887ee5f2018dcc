"""Helpers that write tables of transcripts, import them and read the results."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path

from habla_ml.annotation.event_log import load_events, read_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.annotation.sources.tables.table_import import TableImport, import_table
from habla_ml.recordings.days import load_day
from habla_ml.recordings.segments import read_segment_metadata
from habla_ml_tests.testing.habla_sessions import DAY, NOW, HablaWorkspace

SAVED_DAY = "2026-11-19"


def backdate(path: Path) -> Path:
    """Set the time of change to one day before NOW."""
    then = NOW.timestamp() - 86_400
    os.utime(path, (then, then))
    return path


def write_audio_csv(folder: Path, rows: Sequence[tuple[str, str]], speaker: str = "Lucía") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "fine_tune_dataset.csv"
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["audio_path", "transcript", "duration", "speaker", "notes"])
        writer.writerows([audio, text, "3.2", speaker, "tranquila"] for audio, text in rows)
    return backdate(path)


def write_json_table(folder: Path, entries: object) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "fine_tune_dataset.json"
    path.write_text(json.dumps(entries))
    return backdate(path)


def import_table_file(workspace: HablaWorkspace, path: Path) -> TableImport:
    return import_table(path, workspace.lake, workspace.settings, NOW)


def read_texts(workspace: HablaWorkspace, day: str) -> list[str]:
    log = load_events(workspace.lake, day)
    return [] if log is None else sorted(event.text for event in read_events(workspace.lake, log))


def read_segments(workspace: HablaWorkspace, day: str) -> list[dict[str, object]]:
    published = load_day(workspace.lake, day)
    assert published is not None
    return [dict(row) for row in read_segment_metadata(workspace.lake, published.metadata)]


def write_transcript_csv(folder: Path, rows: Sequence[dict[str, str]], columns: Sequence[str] = ()) -> Path:
    """Write a CSV with the optional columns, one day before NOW."""
    folder.mkdir(exist_ok=True)
    path = folder / "fine_tune_dataset.csv"
    names = ["audio_path", "transcript", "status", "reason", "person", "annotated_at", "model_version", *columns]
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return backdate(path)


def read_logged_events(workspace: HablaWorkspace, day: str = DAY) -> list[AnnotationEvent]:
    log = load_events(workspace.lake, day)
    return [] if log is None else sorted(read_events(workspace.lake, log), key=lambda each: (each.person, each.text))
