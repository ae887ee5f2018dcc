"""A device in a process of its own, which a test may kill: `python -m … URL FOLDER` uploads the queue once."""

from __future__ import annotations

import sys
from pathlib import Path

from habla_ml.client.device import DeviceClient


def main() -> None:
    """Upload what waits."""
    with DeviceClient(sys.argv[1], Path(sys.argv[2]), "1.0") as device:
        print("begin", flush=True)
        device.upload()


if __name__ == "__main__":
    main()
