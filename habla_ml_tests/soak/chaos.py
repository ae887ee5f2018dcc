"""Kill a whole deployment at random times, and check that it recovers without a person.

Each round records a lesson, waits for a random time and kills daemon, code server, runs and their children, or some of
them; then the daemon starts again. At the end everything must be in the lake. With `--faults`, the lake is on an S3 server
and Dagster's storage in PostgreSQL, and the network before both has faults until the last round.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from habla_ml.training.plan import list_evaluated_trainings
from habla_ml_tests.soak.invariants import count_runs, find_lost_lessons, find_stuck_runs, find_version_problems
from habla_ml_tests.soak.live_deployment import LiveDeployment, wait_until
from habla_ml_tests.soak.recorder import Recorder
from habla_ml_tests.soak.remote_servers import serve_remote
from habla_ml_tests.testing.faulty_network import FaultyNetwork

_FAULTY_SHARE = 0.03


def run_chaos(
    deployment: LiveDeployment,
    rounds: int,
    longest_round_s: float,
    rng: random.Random,
    network: FaultyNetwork | None = None,
) -> Recorder:
    """Record lessons and kill processes for some rounds; leave the daemon running and return the recorder."""
    recorder, rounds_of, processes_of = Recorder(deployment.recordings), Counter[str](), Counter[str]()
    if network is not None:
        network.begin(_FAULTY_SHARE, seed=rng.randrange(1000))
    deployment.start()
    for number in range(1, rounds + 1):
        recorder.record()
        time.sleep(rng.uniform(0, longest_round_s))
        states = Counter(run.status.value for run in deployment.instance.get_runs())
        target, processes = deployment.kill_at_random(rng)
        rounds_of[target] += 1
        processes_of[target] += processes
        print(f"round {number:2d} of {rounds}: killed {target} ({processes}); runs before: {dict(states)}", flush=True)
        _restart_ended(deployment)
    print(f"rounds: {dict(rounds_of)}; processes killed: {processes_of.total()}, {dict(processes_of)}", flush=True)
    if network is not None:
        network.end()
        print(f"faults of the network: {network.count()}", flush=True)
    return recorder


def _restart_ended(deployment: LiveDeployment) -> None:
    """Start the daemon if it ended, as the operator's service does."""
    if not deployment.is_running():
        # A daemon that lost its code server only starts another; one without a daemon needs the operator's service.
        deployment.kill("dagster api grpc")
        deployment.start()


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

    def is_settled() -> bool:
        _restart_ended(deployment)
        return not find_problems(deployment, recorder, versions)

    wait_until(is_settled, timeout_s, poll_s=3.0)
    print(f"settled for {time.monotonic() - started:.0f} s", flush=True)
    return find_problems(deployment, recorder, versions)


def main() -> int:
    """Run the chaos and print the figures; return 1 where something is lost, doubled or stuck."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--longest-round-s", type=float, default=40.0)
    parser.add_argument("--settle-s", type=float, default=900.0, help="time to heal after the last round")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", action="store_true", help="use servers behind a network with faults")
    parser.add_argument("--folder", type=Path, help="folder to keep; default: a temporary one")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the processes of the trial end too
    with tempfile.TemporaryDirectory(prefix="habla_ml_chaos_") as scratch, ExitStack() as stack:
        servers = stack.enter_context(serve_remote()) if options.faults else None
        network = None if servers is None else servers.network
        deployment = LiveDeployment(options.folder or Path(scratch), growth_hours=0.02, servers=servers)
        try:
            rng = random.Random(options.seed)
            recorder = run_chaos(deployment, options.rounds, options.longest_round_s, rng, network)
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
