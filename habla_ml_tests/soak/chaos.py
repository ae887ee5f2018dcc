"""Kill a whole deployment at random times, and check that it heals without a person.

Each round records a lesson, waits for a random time and kills daemon, code server, runs and their children, or some of
them; then the daemon starts again. At the end everything must be in the lake.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from habla_ml.training.plan import list_evaluated_trainings
from habla_ml_tests.soak.invariants import count_runs, find_lost_lessons, find_stuck_runs, find_version_problems
from habla_ml_tests.soak.live_deployment import LiveDeployment, wait_until
from habla_ml_tests.soak.recorder import Recorder


def run_chaos(deployment: LiveDeployment, rounds: int, longest_round_s: float, rng: random.Random) -> Recorder:
    """Record lessons and kill processes for some rounds; leave the daemon running and return the recorder."""
    recorder, kills = Recorder(deployment.recordings), Counter[str]()
    deployment.start()
    for number in range(1, rounds + 1):
        recorder.record()
        time.sleep(rng.uniform(0, longest_round_s))
        states = Counter(run.status.value for run in deployment.instance.get_runs())
        killed = deployment.kill_at_random(rng)
        kills[killed] += 1
        print(f"round {number:2d} of {rounds}: killed {killed}; runs before: {dict(states)}", flush=True)
        if not deployment.is_running():
            # A daemon that lost its code server only starts another; one without a daemon needs the operator's service.
            deployment.kill("dagster api grpc")
            deployment.start()
    print(f"killed: {dict(kills)}", flush=True)
    return recorder


def find_problems(deployment: LiveDeployment, recorder: Recorder, versions: int) -> list[str]:
    """Return what is lost, doubled or stuck; `versions` is how many model versions there must be at least."""
    lake = deployment.open_lake()
    trained = len(list_evaluated_trainings(lake))
    return [
        *find_lost_lessons(lake, recorder.present()),
        *find_version_problems(deployment),
        *find_stuck_runs(deployment.instance),
        *([f"{trained} versions were trained, expected at least {versions}"] if trained < versions else []),
    ]


def settle(deployment: LiveDeployment, recorder: Recorder, versions: int, timeout_s: float) -> list[str]:
    """Wait until nothing is lost, doubled or stuck; return what still is after the timeout."""
    started = time.monotonic()
    wait_until(lambda: not find_problems(deployment, recorder, versions), timeout_s, poll_s=3.0)
    print(f"settled for {time.monotonic() - started:.0f} s", flush=True)
    return find_problems(deployment, recorder, versions)


def main() -> int:
    """Run the chaos and print the figures; return 1 where something is lost, doubled or stuck."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--longest-round-s", type=float, default=40.0)
    parser.add_argument("--settle-s", type=float, default=900.0, help="time to heal after the last round")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="folder to keep; default: a temporary one")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the processes of the trial end too
    with tempfile.TemporaryDirectory(prefix="habla_ml_chaos_") as scratch:
        deployment = LiveDeployment(options.folder or Path(scratch), growth_hours=0.02)
        try:
            recorder = run_chaos(deployment, options.rounds, options.longest_round_s, random.Random(options.seed))
            # About twelve lessons start a training.
            versions = min(1, options.rounds // 20)
            problems = settle(deployment, recorder, versions, timeout_s=options.settle_s)
            print(f"lessons: {len(recorder.lessons)}")
            print(f"versions: {[plan.version for plan in list_evaluated_trainings(deployment.open_lake())]}")
            for name, count in count_runs(deployment.instance).items():
                print(f"{count:4d} runs: {name}")
            if problems:
                print(deployment.log.read_text(errors="replace")[-5000:], file=sys.stderr)
        finally:
            deployment.close()
    print("\n".join(problems) if problems else "nothing lost, doubled or stuck")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
