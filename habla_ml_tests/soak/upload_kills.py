"""Kill the workers of the service at random times under load, and check that nothing acknowledged is lost or doubled.

With `--faults`, the network between the service and its servers has faults too, and both servers are behind a proxy.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from habla_ml.inbox.clip_files import open_clip_store
from habla_ml.inbox.clips import sweep_clip_files
from habla_ml.inbox.database import open_database
from habla_ml.inbox.devices import create_enrolment_code, enrol_device
from habla_ml_tests.soak.upload_load import UploadingDevice, find_lost_or_doubled
from habla_ml_tests.testing.deployment_settings import write_settings
from habla_ml_tests.testing.faulty_network import FaultyNetwork
from habla_ml_tests.testing.forked_workers import ForkedWorkers
from habla_ml_tests.testing.postgres_server import PASSWORD, PASSWORD_VARIABLE, PostgresServer, find_programs
from habla_ml_tests.testing.received_consents import give_consent
from habla_ml_tests.testing.s3_clients import BUCKET, CREDENTIALS, serve_s3

DEVICES = 4
_KILLS_PER_CRASH = 5
_FAULTY_SHARE = 0.1
_UNLIMITED = {
    "device_requests_per_minute": 10**9,
    "address_requests_per_minute": 10**9,
    "device_megabytes_per_day": 1e9,
}


@dataclass(frozen=True)
class Backends:
    """Where the service keeps rows and files: its folder, or servers of their own."""

    section: dict[str, Any] = field(default_factory=dict)
    """Keys of the section `service`."""
    postgres: PostgresServer | None = None
    network: FaultyNetwork | None = None
    """The proxies before the servers."""


@dataclass(frozen=True)
class KillReport:
    """What the devices were told during the kills, and what is wrong after them."""

    kills: int
    crashes: int
    """Of the PostgreSQL server."""
    clips: int
    data_points: int
    repeats: int
    """Clips that were acknowledged only at a repeat."""
    orphans: int
    """Files that killed workers left, removed by the sweep."""
    answers: dict[int, int]
    faults: dict[str, int]
    """Of the network."""
    problems: tuple[str, ...]


def open_backends(stack: ExitStack, *, postgres: bool, s3: bool, faults: bool = False) -> Backends:
    """Start the chosen servers until the stack is closed, and let this process and its children find their passwords.

    Raises `SystemExit` if this machine has no PostgreSQL.
    """
    section: dict[str, Any] = {}
    server = None
    network = stack.enter_context(FaultyNetwork()) if faults else None
    if postgres:
        if (programs := find_programs()) is None:
            raise SystemExit("no PostgreSQL 15 or newer; run apt-get install postgresql")
        server = PostgresServer(programs)
        stack.callback(server.stop)
        os.environ[PASSWORD_VARIABLE] = PASSWORD
        section["database"] = server.empty_database()
        if network is not None:
            port = network.put_before_tcp("127.0.0.1", server.port)
            section["database"] = section["database"].replace(f":{server.port}/", f":{port}/")
    if s3:
        os.environ.update(CREDENTIALS)
        endpoint = stack.enter_context(serve_s3())
        endpoint = endpoint if network is None else network.put_before_http(endpoint)
        section["inbox"] = {"url": f"s3://{BUCKET}/inbox", "endpoint_url": endpoint}
    return Backends(section, server, network)


def kill_under_load(
    folder: Path, kills: int, longest_pause_s: float, seed: int, backends: Backends | None = None
) -> KillReport:
    """Kill one or both of two workers again and again while devices upload; return what the devices were told.

    A PostgreSQL server crashes after every fifth kill. A network has faults while the devices upload.
    """
    backends = backends or Backends()
    settings = write_settings(folder, service={"uploads": _UNLIMITED, **backends.section})
    database, store, rng = open_database(settings), open_clip_store(settings), random.Random(seed)
    give_consent(database, "c-1")
    now = datetime.now(UTC)
    with ForkedWorkers(folder) as service:
        devices = []
        for number in range(DEVICES):
            code = create_enrolment_code(database, f"phone {number}", now, timedelta(hours=1))
            enrolled = enrol_device(database, code, now, timedelta(days=1))
            assert enrolled is not None
            devices.append(UploadingDevice(service.port, enrolled, "C-1", seed + number))
        for each in devices:
            each.start()
        done = crashes = 0
        if backends.network is not None:
            backends.network.begin(_FAULTY_SHARE, seed)
        while done < kills:
            time.sleep(rng.uniform(0, longest_pause_s))
            for worker in rng.sample(service.list_workers(), rng.choice((1, 1, 2)))[: kills - done]:
                service.kill(worker)
                done += 1
                if backends.postgres is not None and done % _KILLS_PER_CRASH == 0:
                    backends.postgres.crash()
                    crashes += 1
        if backends.network is not None:
            backends.network.end()
        for each in devices:
            each.end()
    orphans = sweep_clip_files(database, store, datetime.now(UTC) + timedelta(hours=1))
    told = [each.acknowledged for each in devices]
    problems = [*filter(None, (each.problem for each in devices)), *find_lost_or_doubled(database, store, told)]
    database.close()
    return KillReport(
        kills,
        crashes,
        sum(len(each.clips) for each in told),
        sum(len(each.data_points) for each in told),
        sum(each.repeats for each in told),
        orphans,
        dict(sum((each.answers for each in told), Counter[int]())),
        {} if backends.network is None else backends.network.count(),
        tuple(problems),
    )


def main() -> int:
    """Kill and print the figures; return 1 where something is lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--longest-pause-s", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", action="store_true", help="keep the rows in a PostgreSQL, which crashes too")
    parser.add_argument("--s3", action="store_true", help="keep the clips in a bucket")
    parser.add_argument("--faults", action="store_true", help="put faults into the network before these servers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="habla_ml_kills_") as scratch, ExitStack() as stack:
        backends = open_backends(stack, postgres=options.postgres, s3=options.s3, faults=options.faults)
        report = kill_under_load(Path(scratch), options.kills, options.longest_pause_s, options.seed, backends)
    print(report)
    print("\n".join(report.problems) if report.problems else "no acknowledged clip or data point lost or doubled")
    return 1 if report.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
