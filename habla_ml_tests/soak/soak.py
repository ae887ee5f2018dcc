"""Run a whole deployment for some minutes under everything that goes wrong, and check that nothing is lost.

Lessons arrive as Habla writes them, and Habla deletes its oldest folders beyond `MAX_RECORDINGS`. Meanwhile processes are
killed at random, the disk of lake and work folder fills and empties, the recorder's clock is in 1970 or 2099 at times,
and the clock of the pipeline jumps by hours.

A lesson must be in the lake if it is still in Habla's folder at the end, or was there for `FAIR_CHANCE_S` seconds of a
working host: daemon alive, disk not full, and daemon restarted since the clock was set back (Dagster's sensors need
that, see docs/host_failures.md). Only lessons dated by a wrong clock are exempt.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from habla_ml.training.plan import list_evaluated_trainings
from habla_ml_tests.soak.environment_faults import FakeClock, SmallDisk
from habla_ml_tests.soak.invariants import count_runs, find_lost_lessons, find_stuck_runs, find_version_problems
from habla_ml_tests.soak.live_deployment import LiveDeployment, wait_until
from habla_ml_tests.soak.recorder import RecordedLesson, Recorder

MAX_RECORDINGS = 6
FAIR_CHANCE_S = 120.0
_STEP_S = 1.0
_LESSON_EVERY_S = (15.0, 35.0)
_KILL_EVERY_S = (45.0, 120.0)
_FULL_DISK_EVERY_S = (120.0, 240.0)
_FULL_DISK_FOR_S = (20.0, 60.0)
_CLOCK_JUMP_EVERY_S = (60.0, 150.0)
_CLOCK_JUMPS_H = (-26.0, -3.0, -0.5, 0.0, 0.0, 0.5, 3.0, 26.0)
_WRONG_CLOCKS = ("19700101_000001", "20990101_120000", "20380119_031408")
_WRONG_CLOCK_EVERY = 8


@dataclass
class Timer:
    """Is due at random intervals."""

    every_s: tuple[float, float]
    rng: random.Random
    due_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.postpone()

    def postpone(self) -> None:
        """Draw the next time."""
        self.due_at = time.monotonic() + self.rng.uniform(*self.every_s)

    def is_due(self) -> bool:
        """Return whether the time has come, and if so draw the next."""
        due = time.monotonic() >= self.due_at
        if due:
            self.postpone()
        return due


@dataclass
class Soak:
    """The deployment, its surroundings and what happened to them."""

    deployment: LiveDeployment
    disk: SmallDisk
    clock: FakeClock
    rng: random.Random
    events: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.recorder = Recorder(self.deployment.recordings)
        self._lesson, self._kill = Timer(_LESSON_EVERY_S, self.rng), Timer(_KILL_EVERY_S, self.rng)
        self._fill, self._jump = Timer(_FULL_DISK_EVERY_S, self.rng), Timer(_CLOCK_JUMP_EVERY_S, self.rng)
        self._empty_at: float | None = None
        self._seen_at = time.monotonic()
        self._is_clock_set_back = False

    def run(self, seconds: float) -> None:
        """Let everything happen for a time, then give the host a working clock and disk again."""
        self.deployment.start()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._count_host_time()
            if self._lesson.is_due():
                self._record_lesson()
            if self._fill.is_due() and self._empty_at is None:
                self.disk.fill()
                self._empty_at = time.monotonic() + self.rng.uniform(*_FULL_DISK_FOR_S)
                self._report("disk filled")
            if self._empty_at is not None and time.monotonic() >= self._empty_at:
                self._empty_disk()
            if self._jump.is_due():
                before = self.clock.hours
                self.clock.set(self.rng.choice(_CLOCK_JUMPS_H))
                self._is_clock_set_back |= self.clock.hours < before
                self._report(f"clock of the pipeline set to {self.clock.hours:+g} h")
            if self._kill.is_due():
                target, processes = self.deployment.kill_at_random(self.rng)
                self._report(f"killed {target} ({processes} processes)")
            self._restart_daemon()
            time.sleep(_STEP_S)
        self._empty_disk()
        self.clock.set(0.0)
        self.deployment.kill()
        self._restart_daemon()

    def lessons_due(self) -> list[RecordedLesson]:
        """Return the lessons that must be in the lake."""
        return [
            each
            for each in self.recorder.lessons
            if each.has_good_clock and (not each.is_deleted or each.host_seconds >= FAIR_CHANCE_S)
        ]

    def _record_lesson(self) -> None:
        wrong = len(self.recorder.lessons) % _WRONG_CLOCK_EVERY == _WRONG_CLOCK_EVERY - 1
        stamp = self.rng.choice(_WRONG_CLOCKS) if wrong else None
        lesson = self.recorder.record(stamp, pause_s=0.5)
        self.recorder.clean_up(MAX_RECORDINGS)
        self._report("lesson with a wrong clock" if wrong else "lesson", lesson.name)

    def _empty_disk(self) -> None:
        if self._empty_at is not None:
            self.disk.empty()
            self._empty_at = None
            self._report("disk emptied")

    def _restart_daemon(self) -> None:
        if not self.deployment.is_running():
            self.deployment.kill("dagster api grpc")
            self.deployment.start()
            self._is_clock_set_back = False
            self._report("daemon started")

    def _count_host_time(self) -> None:
        now = time.monotonic()
        if self._empty_at is None and not self._is_clock_set_back and self.deployment.is_running():
            for lesson in self.recorder.present():
                lesson.host_seconds += now - self._seen_at
        self._seen_at = now

    def _report(self, event: str, details: str = "") -> None:
        self.events[event] += 1
        print(f"{time.strftime('%H:%M:%S')} {event} {details}", flush=True)


def find_problems(soak: Soak) -> list[str]:
    """Return what is lost, doubled or stuck."""
    lake = soak.deployment.open_lake()
    return [
        *find_lost_lessons(lake, soak.lessons_due()),
        *find_version_problems(soak.deployment),
        *find_stuck_runs(soak.deployment.instance),
    ]


def print_figures(soak: Soak, settled_s: float) -> None:
    """Print what happened, as a table."""
    lessons = soak.recorder.lessons
    lake = soak.deployment.open_lake()
    good = [each for each in lessons if each.has_good_clock]
    rows = {
        "lessons recorded": len(lessons),
        "of these with a wrong clock": len(lessons) - len(good),
        "deleted by Habla": sum(each.is_deleted for each in lessons),
        "must be in the lake": len(soak.lessons_due()),
        "deleted before a fair chance": sum(each.is_deleted and each.host_seconds < FAIR_CHANCE_S for each in good),
        "of these in the lake all the same": sum(
            not find_lost_lessons(lake, [each]) for each in good if each not in soak.lessons_due()
        ),
        "model versions": ", ".join(plan.version for plan in list_evaluated_trainings(lake)) or "none",
        "seconds until everything settled": round(settled_s),
        **{f"event: {name}": count for name, count in sorted(soak.events.items())},
        **{f"runs: {name}": count for name, count in count_runs(soak.deployment.instance).items()},
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")


def main() -> int:
    """Run the soak and print the figures; return 1 where something is lost, doubled or stuck."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--settle-s", type=float, default=1200.0, help="time to heal at the end")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--disk-mib", type=int, default=400, help="size of the disk of lake and work folder")
    parser.add_argument("--folder", type=Path, help="folder to keep; default: a temporary one")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the processes of the trial end too
    with tempfile.TemporaryDirectory(prefix="habla_ml_soak_") as scratch:
        folder = options.folder or Path(scratch)
        with SmallDisk(folder / "data", options.disk_mib) as disk:
            clock = FakeClock(folder / "clock")
            deployment = LiveDeployment(folder, growth_hours=0.02, data=disk.folder, environment=clock.environment)
            soak = Soak(deployment, disk, clock, random.Random(options.seed))
            print(f"disk: {disk.description}; clock: {clock.description}", flush=True)
            try:
                soak.run(60 * options.minutes)
                started = time.monotonic()
                wait_until(lambda: not find_problems(soak), options.settle_s, poll_s=5.0)
                problems = find_problems(soak)
                print_figures(soak, time.monotonic() - started)
                if problems:
                    print(deployment.log.read_text(errors="replace")[-8000:], file=sys.stderr)
            finally:
                deployment.close()
    print("\n".join(problems) if problems else "nothing finished is lost, doubled or stuck")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
