"""Requests and bytes of an erasure in a lake of many days, for a contributor with clips on two of them.

The store counts what S3 would be asked. The days have recordings with audio, corrections and text. A third of them was
published twice, so that the lake also has objects that no pointer leads to. A listing is one request for 1,000 objects.

    python benchmarks/bench_erasure.py --days 300
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from synthetic_corpus import CONVENTIONS_FOLDER, make_segment, settings_of

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from habla_ml.annotation.event_log import append_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.consent.register import Contributor, Register
from habla_ml.corpus.build import build_day
from habla_ml.corpus.conventions import load_conventions
from habla_ml.erasure.contributor_data import find_withdrawn_days
from habla_ml.erasure.erase import erase, plan_erasure
from habla_ml.lake import Lake
from habla_ml.recordings.days import publish_day
from habla_ml.recordings.segments import RecordedSegment
from habla_ml.settings import Settings
from habla_ml_tests.testing.counting_store import CountingStore

NOW = datetime(2027, 3, 1, tzinfo=UTC)
MOST_READ_SHARE = 0.1
"""Of the bytes of the lake, by the last erasure."""


def make_segments(day: str, sessions: int, segments: int, audio_bytes: int) -> Iterator[RecordedSegment]:
    """Yield the segments of a day; its first session is of the speaker `c-<day>`."""
    rng = np.random.default_rng(int(day.replace("-", "")))
    for session in range(sessions):
        name = f"clase{session:03d}_{day.replace('-', '')}_090000"
        for number in range(segments):
            audio = rng.bytes(audio_bytes)
            speaker = f"c-{day}" if session == 0 else f"Speaker {number % 3}"
            yield make_segment("habla", name, day, number, speaker, audio)


def write_lake(lake: Lake, settings: Settings, options: argparse.Namespace) -> list[str]:
    """Publish all days; return them."""
    conventions = load_conventions(CONVENTIONS_FOLDER / "orthographic-v1.yaml")
    days = [(date(2026, 1, 1) + timedelta(days=number)).isoformat() for number in range(options.days)]
    for number, day in enumerate(days):
        segments = list(make_segments(day, options.sessions, options.segments, options.audio_bytes))
        if number % 3 == 0:
            publish_day(lake, day, segments[: len(segments) // 2], settings.work_folder)
        publish_day(lake, day, segments, settings.work_folder)
        events = [
            AnnotationEvent(
                segment_id=each.segment_id,
                session_id=each.session_id,
                day=day,
                text=f"texto {each.number} de {each.session_id}",
                status="corrected",
                reason="",
                person="ana",
                source="habla",
                created_at=NOW,
                seen_text=None,
            )
            for each in segments
        ]
        append_events(lake, day, events, {})
        build_day(lake, day, conventions, settings)
    return days


@dataclass(frozen=True)
class CountedLake:
    """A lake whose readers are counted; `open` opens it on a machine with an empty cache."""

    folder: Path
    store: CountingStore

    def open(self, machine: str) -> tuple[Lake, Settings]:
        """Return the lake and settings of a machine."""
        (self.folder / machine / "work").mkdir(parents=True, exist_ok=True)
        return Lake(self.store, self.folder / machine / "cache"), settings_of(self.folder / machine)

    def count(self, step: str, work: Callable[[], Any]) -> Any:
        """Do some work; print its requests and return its result."""
        self.store.requests.clear()
        self.store.bytes.clear()
        start_s = time.process_time()
        done = work()
        requests, read = self.store.requests, self.store.bytes
        parts = [f"{requests[kind]:,} {kind} ({read[kind] / 1e6:.2f} MB)" for kind in ("objects", "pointers")]
        passed_s = time.process_time() - start_s
        print(f"{step}: {', '.join(parts)}, {requests['listings']} listings, {passed_s:.1f} CPU s", flush=True)
        return done

    def erase(self, order: str, person: Contributor, *, is_checked: bool) -> None:
        """Erase a contributor on a new machine, after the check of consents on it if `is_checked`."""
        lake, settings = self.open(order)
        if is_checked:
            register = Register(contributors=(person,))
            self.count("check of consents", partial(find_withdrawn_days, lake, register, NOW.date()))
            lake, settings = self.open(f"{order} erasure")
        plan = self.count(f"{order} search", partial(plan_erasure, lake, person, settings, NOW))
        assert len(plan.contributor_data.days) == 2
        self.count(f"{order} erasure", partial(erase, lake, plan, settings, NOW))


def main() -> int:
    """Print the requests of a search, an erasure and the next ones; return non-zero above the bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=300, help="at least 16")
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--segments", type=int, default=20, help="segments of a session")
    parser.add_argument("--audio-bytes", type=int, default=3_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        counted = CountedLake(Path(scratch), CountingStore(Path(scratch) / "lake"))
        days = write_lake(*counted.open("writer"), options)
        stored = [each.size_bytes for each in counted.open("writer")[0].list_objects()]
        print(f"{len(days)} days, {len(stored):,} objects, {sum(stored) / 1e6:.0f} MB", flush=True)
        for order, at in (("first", 1), ("second", 4), ("third", 7)):
            entry: dict[str, Any] = {"contributor": f"c-{days[at]}", "withdrawn": "2027-01-01"}
            entry["speakers"] = [{"label": f"c-{days[at + len(days) // 2]}"}]
            counted.erase(order, Contributor.model_validate(entry), is_checked=order == "second")
    return int(counted.store.bytes["objects"] > MOST_READ_SHARE * sum(stored))


if __name__ == "__main__":
    sys.exit(main())
