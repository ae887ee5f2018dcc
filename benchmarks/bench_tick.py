"""Ticks of the sensors for recordings and corrections without news, against `find` over the same tree, in turn.

The folders are real: each session has a few segments, metadata.json and the stream of the browser. Every other one has
a ground_truth.json and a correction. With `--withheld`, part of every session waits for the consents of a class of
thirty. The bound of each tick is twice `find`, by medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from habla_ml.annotation.source import SourceContext
from habla_ml.annotation.sources.habla import find_changes, find_corrected_sessions
from habla_ml.consent.admission import load_consents
from habla_ml.corpus.build import find_outdated_days
from habla_ml.lake import DirectoryStore, Lake, catalogue
from habla_ml.recordings.change_detection import find_changed_days, input_signature
from habla_ml.recordings.sessions import (
    CORRECTIONS_FILE,
    GROUND_TRUTH_FILE,
    METADATA_FILE,
    RAW_STREAM_FILE,
    scan_sessions,
)
from habla_ml.settings import Settings, load_settings

SESSIONS_A_DAY = 5
CONSENTS = 30


def write_tree(root: Path, sessions: int, segments: int) -> None:
    """Write sessions of empty segments, two days old; a tick reads names, sizes and times only."""
    start = datetime(2021, 1, 4, 9)
    names = [f"segment_{number:03d}.wav" for number in range(1, segments + 1)]
    old = time.time() - 48 * 3600
    for number in range(sessions):
        at = start + timedelta(days=number // SESSIONS_A_DAY, hours=number % SESSIONS_A_DAY)
        folder = root / f"{10_000 + number}_{at:%Y%m%d_%H%M%S}"
        folder.mkdir()
        for name in (
            *names,
            METADATA_FILE,
            RAW_STREAM_FILE,
            *((GROUND_TRUTH_FILE, CORRECTIONS_FILE) if number % 2 else ()),
        ):
            (folder / name).write_bytes(b'{"segments": []}' if name.endswith(".json") else b"")
            os.utime(folder / name, (old, old))
        os.utime(folder, (old, old))


def make_settings(root: Path) -> Settings:
    """Return settings for a temporary folder, with thirty missing consents."""
    project = Path(__file__).resolve().parent.parent
    path = root / "configs" / "bench.yaml"
    path.parent.mkdir()
    path.write_text(
        "work_folder: work\nlake: {url: lake}\nrecordings: {folder: recordings, first_day: '2021-01-01'}\n"
        f"corpus: {{conventions: {project}/configs/conventions/orthographic-v1.yaml}}\n"
        f"training: {{recipe: {project}/configs/recipes/demo-full.yaml}}\nrelease: {{store: {{url: cdn}}}}\n"
        "consent: {registry: consents.yaml}\n"
    )
    children = [f"- {{contributor: c-{n}, minor: true, speakers: [{{label: Child {n}}}]}}\n" for n in range(CONSENTS)]
    (root / "consents.yaml").write_text("contributors:\n" + "".join(children))
    return load_settings(path, {})


def write_day_pointers(recordings: Path, lake: Lake, settings: Settings, now: datetime, withheld: bool) -> None:
    """Write pointers as an ingest does; a tick does not read their objects."""
    days: dict[str, dict[str, str]] = defaultdict(dict)
    for session in scan_sessions(recordings, settings, now).sessions:
        days[session.day][session.name] = input_signature(session, settings, now)
    consents = load_consents(settings, now)
    for day, inputs in days.items():
        totals = {"segments": 0, "sessions": len(inputs), "hours": 0.0}
        value = {"parquet": "0" * 64, "facts": "0" * 64, "set_aside": "0" * 64, "inputs": inputs, **totals}
        if withheld:
            waiting = {
                name: sorted(consents.register.list_awaited_claims(name, consents.today))[:CONSENTS] for name in inputs
            }
            value |= {"withheld": waiting, "consents": consents.signature}
        lake.move_pointer(catalogue.RECORDINGS.name(day), value, None)
    for day, inputs in find_corrected_sessions(recordings, settings, now).items():
        log = {"parquet": "1" * 64, "inputs": inputs, "set_aside": "0" * 64, "events": 0}
        if withheld:
            waiting = {
                name: sorted(consents.register.list_awaited_claims(name, consents.today))[:CONSENTS] for name in inputs
            }
            log |= {"withheld": waiting, "consents": consents.signature}
        lake.move_pointer(catalogue.ANNOTATIONS.name(day), log, None)
        text = {"parquet": "0" * 64, "recordings": "0" * 64, "facts": "0" * 64, "annotations": "1" * 64}
        text |= {"conventions": "", "conventions_digest": "", "inputs": ""}
        lake.move_pointer(catalogue.CORPUS.name(day), {**text, "counts": {}, "problems": {}, "hours": 0.0}, None)


def main() -> int:
    """Print the medians and their ratios to `find`; return non-zero above the bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--segments", type=int, default=3, help="segments per session; Habla has about 300")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--withheld", action="store_true", help="every session waits for consents")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root, recordings = Path(scratch), Path(scratch) / "recordings"
        recordings.mkdir()
        write_tree(recordings, chosen.sessions, chosen.segments)
        settings, lake, now = (
            make_settings(root),
            Lake(DirectoryStore(root / "lake"), root / "cache"),
            datetime.now(UTC),
        )
        write_day_pointers(recordings, lake, settings, now, chosen.withheld)
        find, tick, corrections = [], [], []
        for _ in range(chosen.rounds):
            started = time.perf_counter()
            subprocess.run(["find", str(recordings)], check=True, stdout=subprocess.DEVNULL)
            find.append(time.perf_counter() - started)
            started = time.perf_counter()
            changed = list(find_changed_days(recordings, lake, settings, now))
            tick.append(time.perf_counter() - started)
            assert changed == []
            started = time.perf_counter()
            corrected = list(find_outdated_days(lake, [find_changes(SourceContext(lake, settings, now))]))
            corrections.append(time.perf_counter() - started)
            assert corrected == []
    print(f"{chosen.sessions} sessions of {chosen.segments} segments on {chosen.sessions // SESSIONS_A_DAY} days")
    ratios = []
    for name, seconds in (("find", find), ("new_recordings", tick), ("new_corrections", corrections)):
        ratios.append(statistics.median(seconds) / statistics.median(find))
        times = f"{statistics.median(seconds):.3f} s   (min {min(seconds):.3f}, max {max(seconds):.3f})"
        print(f"{name:15}  {times}   {ratios[-1]:.2f} of find")
    print("bound            2")
    return int(max(ratios) > 2)


if __name__ == "__main__":
    sys.exit(main())
