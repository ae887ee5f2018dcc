"""Memory of a process, and how a cost grows with the size of the input."""

from __future__ import annotations

import math
from pathlib import Path


def read_peak_mib() -> float:
    """Return the peak memory of this process. It is not `ru_maxrss`, where a child starts with the value of its parent."""
    return int(Path("/proc/self/status").read_text("ascii").partition("VmHWM:")[2].split()[0]) / 1024


def compute_slope(sizes: tuple[int, int], costs: tuple[float, float], floor: float = 0.0) -> float:
    """Return the exponent of the growth between two sizes: 1 is in proportion, 0 does not grow.

    A cost below `floor` counts as this one, since its noise would be a slope.
    """
    before, after = (max(each, floor) for each in costs)
    return math.log(after / before) / math.log(sizes[1] / sizes[0])
