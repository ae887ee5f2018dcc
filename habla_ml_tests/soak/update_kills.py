"""Kill a device at random moments while it updates its model, and read every file of its model after each kill."""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from habla_ml_tests.testing.file_server import serve_folder
from habla_ml_tests.testing.updating_phone import PhoneUnderTest, ReleaseOrigin

_LONGEST_S = 0.25


@dataclass
class CountedKills:
    """What the kills did."""

    kills: int = 0
    broken: int = 0
    """Kills after which a model was not whole."""
    updates: int = 0
    """Updates that were completed in between."""


def kill_updates(folder: Path, kills: int, draw: random.Random) -> CountedKills:
    """Kill updates so many times; a new version is released whenever the device has the newest."""
    origin, counted = ReleaseOrigin(folder), CountedKills()
    version = 1
    origin.publish("v1")
    with serve_folder(origin.cdn) as address:
        place = folder / "phone"
        while counted.kills < kills:
            counted.kills += _kill_once(place, address, origin.shipped, draw.uniform(0.0, _LONGEST_S))
            try:
                phone = PhoneUnderTest(place, address, origin.shipped)
                has = phone.read_version()
                phone.close()
            except Exception:  # noqa: BLE001 (whatever it is, the model is broken)
                counted.broken += 1
                continue
            if has == f"v{version}":
                counted.updates += 1
                version += 1
                origin.publish(f"v{version}")
    return counted


def _kill_once(place: Path, address: str, shipped: bytes, after_s: float) -> bool:
    """Start an update and kill it after a time; return whether it was still running."""
    child = os.fork()
    if child == 0:
        try:
            PhoneUnderTest(place, address, shipped).update()
        finally:
            os._exit(0)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def main() -> int:
    """Print what 500 kills did; return non-zero if a model was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counted = kill_updates(Path(folder), options.kills, random.Random(options.seed))
    print(f"{counted.kills} kills, {counted.updates} updates, {counted.broken} broken models")
    return 1 if counted.broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
