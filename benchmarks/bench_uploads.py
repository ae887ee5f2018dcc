"""Upload clips to the service, and to a bare Starlette handler that fsyncs the same bytes: two workers each, in turn.

The bound is 0.7 of the bare handler's clips per second. Also prints how long a clip takes while batches of corrections
are posted, and the memory of the workers over many clips (`--clips 100000` for the long run).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import json
import os
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from habla_ml.inbox.database import open_database
from habla_ml.inbox.devices import create_enrolment_code, enrol_device
from habla_ml_tests.testing.deployment_settings import write_settings
from habla_ml_tests.testing.forked_workers import ForkedWorkers
from habla_ml_tests.testing.received_consents import give_consent

LEAST_RATIO = 0.7
CLIENTS = 8
CLIP_BYTES = 60_000
ITEMS_PER_BATCH = 500
UNLIMITED = {
    "device_requests_per_minute": 10**9,
    "address_requests_per_minute": 10**9,
    "device_megabytes_per_day": 1e9,
}


def make_bare_handler(folder: Path) -> Any:
    """Return an application that writes each body to a file of its own, fsyncs it, and answers 201."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import Response
    from starlette.routing import Route

    received = folder / "bare"
    received.mkdir(exist_ok=True)

    def keep(name: str, data: bytes) -> None:
        with (received / name).open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    async def put(request: Any) -> Response:
        await run_in_threadpool(keep, request.path_params["clip_id"], await request.body())
        return Response(status_code=201)

    return Starlette(routes=[Route("/v1/clips/{clip_id}", put, methods=["PUT"])])


@dataclass
class Load:
    """What clients sent in a time."""

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Clips per second."""
        return len(self.latencies_s) / self.seconds

    def quantile_ms(self, share: float) -> float:
        """Return a quantile of the latencies in milliseconds."""
        return sorted(self.latencies_s)[int(share * (len(self.latencies_s) - 1))] * 1_000


def send_clips(port: int, token: str, seconds: float, clips: int | None = None) -> Load:
    """Upload clips from several clients for a time, or until so many are sent."""
    load, left = Load(), threading.Semaphore(10**9 if clips is None else clips)
    deadline = time.perf_counter() + seconds

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        tail = os.urandom(CLIP_BYTES - 16)
        while time.perf_counter() < deadline and left.acquire(blocking=False):
            data = os.urandom(16) + tail
            digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
            headers = {"Authorization": f"Bearer {token}", "Habla-Contributor": "c-1", "Habla-Session": "bench"}
            started = time.perf_counter()
            path = f"/v1/clips/{uuid.uuid4()}"
            connection.request("PUT", path, data, {**headers, "Content-Digest": f"sha-256=:{digest}:"})
            answer = connection.getresponse()
            answer.read()
            load.latencies_s.append(time.perf_counter() - started)
            if answer.status != 201:
                raise SystemExit(f"a clip was answered {answer.status}")
        connection.close()

    started = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    load.seconds = time.perf_counter() - started
    return load


def post_batches(port: int, token: str, is_over: Callable[[], bool]) -> int:
    """Post full batches of corrections until it is over; return the number of corrections."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    clip_id, sent = str(uuid.uuid4()), 0
    digest = base64.b64encode(hashlib.sha256(b"clip").digest()).decode()
    clip = {"Habla-Contributor": "c-1", "Habla-Session": "bench", "Content-Digest": f"sha-256=:{digest}:"}
    connection.request("PUT", f"/v1/clips/{clip_id}", b"clip", {**headers, **clip})
    connection.getresponse().read()
    while not is_over():
        item = {
            "recordingItemID": clip_id,
            "correctedTranscription": "Buenas tardes.",
            "timestamp": "2026-11-29T06:20:00Z",
        }
        body = json.dumps({"items": [{"id": str(uuid.uuid4()), **item} for _ in range(ITEMS_PER_BATCH)]})
        connection.request("POST", "/v1/batches", body, headers)
        results = json.loads(connection.getresponse().read())["results"]
        if any(each["status"] != "accepted" for each in results):
            raise SystemExit("a correction was not accepted")
        sent += ITEMS_PER_BATCH
    connection.close()
    return sent


def prepare(folder: Path) -> str:
    """Write a deployment with a device and a consent; return the device's token."""
    database = open_database(write_settings(folder, service={"uploads": UNLIMITED}))
    give_consent(database, "c-1")
    now = datetime.now(UTC)
    code = create_enrolment_code(database, "bench", now, timedelta(hours=1))
    enrolled = enrol_device(database, code, now, timedelta(days=1))
    database.close()
    if enrolled is None:
        raise SystemExit("the code was refused")
    return enrolled.token


def compare(ours: ForkedWorkers, bare: ForkedWorkers, token: str, rounds: int, seconds: float) -> float:
    """Print clips per second and latencies of both, in turn; return the ratio of the medians."""
    loads: dict[str, list[Load]] = {"service": [], "bare handler": []}
    for each in (ours, bare):
        send_clips(each.port, token, 1.0)
    for _ in range(rounds):
        loads["service"].append(send_clips(ours.port, token, seconds))
        loads["bare handler"].append(send_clips(bare.port, token, seconds))
    for name, found in loads.items():
        together = Load(sum(each.seconds for each in found), [took for each in found for took in each.latencies_s])
        rates = ", ".join(f"{each.rate:.0f}" for each in found)
        print(f"{name:13} {statistics.median(each.rate for each in found):5.0f} clips/s ({rates});", end=" ")
        print(f"p50 {together.quantile_ms(0.5):.0f} ms, p99 {together.quantile_ms(0.99):.0f} ms")
    medians = [statistics.median(each.rate for each in found) for found in loads.values()]
    return medians[0] / medians[1]


def measure_with_batches(service: ForkedWorkers, token: str, seconds: float) -> None:
    """Print the latency of clips while another client posts full batches."""
    is_over, sent = threading.Event(), []
    poster = threading.Thread(target=lambda: sent.append(post_batches(service.port, token, is_over.is_set)))
    poster.start()
    load = send_clips(service.port, token, seconds)
    is_over.set()
    poster.join()
    print(f"while batches are posted ({sent[0] / load.seconds:.0f} corrections/s): {load.rate:.0f} clips/s;", end=" ")
    print(f"p50 {load.quantile_ms(0.5):.0f} ms, p99 {load.quantile_ms(0.99):.0f} ms")


def measure_memory(service: ForkedWorkers, token: str, clips: int) -> None:
    """Print the memory of the workers after each tenth of the clips."""
    sizes = []
    for _ in range(10):
        send_clips(service.port, token, 1e9, clips // 10)
        sizes.append(service.measure_memory() / 1e6)
    print(f"memory of both workers over {clips} clips: {', '.join(f'{each:.0f}' for each in sizes)} MB")


def main() -> int:
    """Print the figures; return non-zero below the bound."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--clips", type=int, default=2_000, help="clips of the measurement of memory; 0 leaves it out")
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        folder = Path(scratch)
        token = prepare(folder)
        bare_name = "benchmarks.bench_uploads:make_bare_handler"
        with ForkedWorkers(folder) as ours, ForkedWorkers(folder, application=bare_name) as bare:
            ratio = compare(ours, bare, token, options.rounds, options.seconds)
            measure_with_batches(ours, token, options.seconds)
            if options.clips:
                measure_memory(ours, token, options.clips)
    print(f"ratio {ratio:.2f}   bound {LEAST_RATIO}")
    return 0 if ratio >= LEAST_RATIO else 1


if __name__ == "__main__":
    raise SystemExit(main())
