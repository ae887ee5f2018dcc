"""Upload mutated audio files and ingest them: only documented answers, and each file is a segment or set aside."""

from __future__ import annotations

import argparse
import base64
import hashlib
import random
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from habla_ml.inbox.unread_clips import find_unread_hours
from habla_ml.recordings.uploads import ingest_hour
from habla_ml_tests.testing.encoded_audio import ENCODERS, encode_audio_file, mutate_file
from habla_ml_tests.testing.received_consents import give_consent
from habla_ml_tests.testing.service_client import ServiceUnderTest

EXPECTED = {
    "right": (201, None),
    "again": (200, None),
    "other bytes": (409, "/problems/conflict"),
    "damaged on the way": (400, "/problems/digest-mismatch"),
}
"""What is sent → status and type of the answer."""
_UNLIMITED = {
    "device_requests_per_minute": 10**9,
    "address_requests_per_minute": 10**9,
    "device_megabytes_per_day": 1e9,
}


@dataclass(frozen=True)
class MutationReport:
    """What became of the files."""

    sent: dict[str, int]
    """What was sent → requests."""
    segments: int
    set_aside: int
    problems: tuple[str, ...]


def upload_mutations(folder: Path, count: int, seed: int) -> MutationReport:
    """Send `count` mutated files to the service, and ingest those that it received."""
    service, rng = ServiceUnderTest(folder, {"uploads": _UNLIMITED}), random.Random(seed)
    give_consent(service.state.database, "c-1")
    headers = {**service.authorise(), "Habla-Contributor": "c-1", "Habla-Session": "3A"}
    files = [encode_audio_file(kind, 0.3) for kind in ENCODERS]
    sent, problems, received = Counter[str](), list[str](), dict[str, bytes]()
    for number in range(count):
        data = named = mutate_file(files[number % len(files)], rng)
        clip_id, kind = str(UUID(int=number)), rng.choice(["right", "right", "right", *EXPECTED])
        if kind in ("again", "other bytes") and not received:
            kind = "right"
        if kind == "again":
            clip_id, data = rng.choice(list(received.items()))
            named = data
        elif kind == "other bytes":
            clip_id = rng.choice(list(received))
            kind = "again" if received[clip_id] == data else kind
        elif kind == "damaged on the way":
            named = data + b"."
        else:
            received[clip_id] = data
        sent[kind] += 1
        digest = f"sha-256=:{base64.b64encode(hashlib.sha256(named).digest()).decode()}:"
        answer = service.client.put(f"/v1/clips/{clip_id}", content=data, headers={**headers, "Content-Digest": digest})
        found = (answer.status_code, answer.json().get("type"))
        if found != EXPECTED[kind]:
            problems.append(f"request {number} ({kind}) was answered {found}")
    segments, set_aside = _ingest(service)
    if segments + set_aside != len(received):
        problems.append(f"{len(received)} files became {segments} segments, and {set_aside} were set aside")
    return MutationReport(dict(sent), segments, set_aside, tuple(problems))


def _ingest(service: ServiceUnderTest) -> tuple[int, int]:
    state, segments, set_aside = service.state, 0, 0
    for hour in find_unread_hours(state.database):
        done = ingest_hour(hour.hour, state.lake, state.database, state.inbox, state.settings, service.now)
        segments, set_aside = segments + done.segments, set_aside + done.set_aside
    return segments, set_aside


def main() -> int:
    """Upload and print the figures; return 1 where an answer is not the documented one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="habla_ml_mutations_") as scratch:
        report = upload_mutations(Path(scratch), options.files, options.seed)
    print(report)
    return 1 if report.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
