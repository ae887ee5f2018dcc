"""A deployment in which no tick of a sensor finds anything new: sessions of Habla, a table and a Label Studio project.

The pointers are those of a finished ingest. Their objects are missing, because such a tick reads pointers only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from habla_ml.annotation.sources.habla import find_corrected_sessions
from habla_ml.annotation.sources.label_studio.client import LabelStudio
from habla_ml.annotation.sources.label_studio.project import find_project
from habla_ml.annotation.sources.label_studio.pull import pull_events
from habla_ml.annotation.sources.tables.table_import import import_table
from habla_ml.consent.admission import load_consents
from habla_ml.consent.register import digest_claims
from habla_ml.lake import Lake, catalogue, compute_digest
from habla_ml.recordings.change_detection import input_signature
from habla_ml.recordings.sessions import (
    CORRECTIONS_FILE,
    GROUND_TRUTH_FILE,
    METADATA_FILE,
    RAW_STREAM_FILE,
    scan_sessions,
)
from habla_ml.settings import Settings, load_settings
from habla_ml_tests.testing.label_studio_api import LOGIN, TITLE, LabelStudioApi

SESSIONS_A_DAY = 5
CONSENTS = 30
FIRST_SESSION_DAY = date(2021, 1, 4)
FIRST_IMPORTED_DAY = date(2017, 1, 2)
PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class QuietDays:
    """How much there is."""

    sessions: int
    """Sessions in Habla's folder, five a day; each second one has corrections."""
    segments: int = 3
    """Segments of a session; Habla has about 300."""
    imported_days: int = 0
    """Further days of recordings, each with events of the table and of Label Studio."""
    withheld: bool = False
    """Whether every session waits for the consents of a class of thirty."""

    @property
    def days(self) -> int:
        """Days with recordings."""
        return -(-self.sessions // SESSIONS_A_DAY) + self.imported_days


def make_quiet_settings(root: Path, lake: Mapping[str, Any], label_studio_url: str) -> Settings:
    """Write and load settings with thirty missing consents, a table and a Label Studio server."""
    path = root / "configs" / "quiet.yaml"
    path.parent.mkdir()
    children = [f"- {{contributor: c-{n}, minor: true, speakers: [{{label: Child {n}}}]}}\n" for n in range(CONSENTS)]
    (root / "consents.yaml").write_text("contributors:\n" + "".join(children))
    (root / "texts.csv").write_text("audio_path,transcript\n")
    (root / "recordings").mkdir()
    path.write_text(
        f"work_folder: work\nlake: {dict(lake)}\n"
        f"recordings: {{folder: recordings, first_day: '{FIRST_IMPORTED_DAY}'}}\n"
        f"corpus: {{conventions: {PROJECT}/configs/conventions/orthographic-v1.yaml}}\n"
        f"training: {{recipe: {PROJECT}/configs/recipes/demo-full.yaml}}\nrelease: {{store: {{url: cdn}}}}\n"
        "consent: {registry: consents.yaml}\n"
        f"annotation: {{tables: [texts.csv], label_studio: {{url: '{label_studio_url}', title: {TITLE}}}}}\n"
    )
    return load_settings(path, {})


def write_quiet_days(lake: Lake, settings: Settings, api: LabelStudioApi, amount: QuietDays) -> None:
    """Write the sessions and everything that the lake knows of them."""
    now = datetime.now(UTC)
    _write_sessions(settings.recordings.folder, amount)
    imported = [(FIRST_IMPORTED_DAY + timedelta(days=number)).isoformat() for number in range(amount.imported_days)]
    days: dict[str, dict[str, str]] = {day: {} for day in imported}
    for session in scan_sessions(settings.recordings.folder, settings, now).sessions:
        days.setdefault(session.day, {})[session.name] = input_signature(session, settings, now)
    for day, inputs in days.items():
        totals = {"segments": 0, "sessions": len(inputs), "hours": 0.0}
        value = {"parquet": "0" * 64, "facts": "0" * 64, "set_aside": "0" * 64, "inputs": inputs, **totals}
        value |= _withhold(settings, inputs, now) if amount.withheld else {}
        lake.move_pointer(catalogue.RECORDINGS.name(day), value, None)
    _write_annotations(lake, settings, imported, now, amount)
    _write_sources(lake, settings, api, imported, now)


def _write_sessions(folder: Path, amount: QuietDays) -> None:
    """Write sessions of empty segments, two days old; a tick reads names, sizes and times only."""
    names = [f"segment_{number:03d}.wav" for number in range(1, amount.segments + 1)]
    old = time.time() - 48 * 3600
    for number in range(amount.sessions):
        day = FIRST_SESSION_DAY + timedelta(days=number // SESSIONS_A_DAY)
        session = folder / f"{10_000 + number}_{day:%Y%m%d}_{9 + number % SESSIONS_A_DAY:02d}0000"
        session.mkdir()
        corrected = (GROUND_TRUTH_FILE, CORRECTIONS_FILE) if number % 2 else ()
        for name in (*names, METADATA_FILE, RAW_STREAM_FILE, *corrected):
            (session / name).write_bytes(b'{"segments": []}' if name.endswith(".json") else b"")
            os.utime(session / name, (old, old))
        os.utime(session, (old, old))


def _write_annotations(lake: Lake, settings: Settings, imported: list[str], now: datetime, amount: QuietDays) -> None:
    """Write the event log and the text of each day that has one, and the hours of the corpus."""
    logs: dict[str, dict[str, str]] = {day: {} for day in imported}
    logs |= find_corrected_sessions(settings.recordings.folder, settings, now)
    texts = []
    for day, inputs in logs.items():
        log = {"parquet": "1" * 64, "inputs": inputs, "set_aside": "0" * 64, "events": 0}
        log |= _withhold(settings, inputs, now) if amount.withheld else {}
        lake.move_pointer(catalogue.ANNOTATIONS.name(day), log, None)
        texts.append(compute_digest(day))
        text: dict[str, Any] = {
            "parquet": texts[-1],
            "recordings": "0" * 64,
            "facts": "0" * 64,
            "annotations": "1" * 64,
        }
        text |= {"conventions": "", "conventions_digest": "", "inputs": "", "counts": {"usable": 1}, "problems": {}}
        lake.move_pointer(catalogue.CORPUS.name(day), {**text, "hours": 0.001}, None)
    origins = compute_digest(sorted(each[:32] for each in texts))
    lake.move_pointer(catalogue.CORPUS_HOURS, {"inputs": origins, "hours": 0.5}, None)


def _write_sources(lake: Lake, settings: Settings, api: LabelStudioApi, imported: list[str], now: datetime) -> None:
    """Read the table and the project, then add the days."""
    import_table(settings.annotation.tables[0], lake, settings, now)
    with LabelStudio(api.url, LOGIN, patience_s=0) as server:
        project = find_project(server, TITLE)
        assert project is not None
        pull_events(lake, server, project, settings.annotation.label_studio, now)
    for family in (catalogue.TABLES, catalogue.LABEL_STUDIO_PULLED):
        [pointer] = family.read(lake).list_pointers()
        lake.move_pointer(pointer.name, {**pointer.value, "days": imported}, pointer)


def _withhold(settings: Settings, sessions: Mapping[str, str], now: datetime) -> dict[str, Any]:
    consents = load_consents(settings, now)
    claims = {name: sorted(digest_claims(consents.awaited, name))[:CONSENTS] for name in sessions}
    return {"withheld": claims, "consents": consents.signature}
