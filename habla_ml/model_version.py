"""Names of model versions: `v3`; `v3-s2`, the same training with a second seed; `v3-p25`, on 25 % of its sessions.

The last two are replicates: they measure the spread over seeds or the value of hours. A replicate is never newer than
another version, is not released, and the growth of the corpus is not counted from it.
"""

from __future__ import annotations

import re
from typing import Final

FIRST_REPLICATE: Final = 2
"""Number of the first replicate with another seed; the version itself has seed 1."""
_VERSION_NAME = re.compile(r"(v[1-9][0-9]*)(-(?:s(?:[2-9]|[1-9][0-9]+)|p[1-9][0-9]?))?")


def is_version(name: str) -> bool:
    """Return whether `name` is a version or a replicate."""
    return _VERSION_NAME.fullmatch(name) is not None


def version_number(name: str) -> int:
    """Return 12 for `v12`, and 0 for a replicate or any other name, so that these sort first."""
    found = _VERSION_NAME.fullmatch(name)
    return int(name[1:]) if found and found[2] is None else 0


def parent_version(name: str) -> str | None:
    """Return `v3` for its replicates `v3-s2` and `v3-p25`; None for any other name."""
    found = _VERSION_NAME.fullmatch(name)
    return found[1] if found and found[2] else None


def replicate_name(version: str, seed: int) -> str:
    """Return `v3-s2` for the second seed of `v3`."""
    return f"{version}-s{seed}"


def subset_run_name(version: str, percent: int) -> str:
    """Return `v3-p25` for `v3` trained on 25 % of its sessions."""
    return f"{version}-p{percent}"


def is_subset_run(name: str) -> bool:
    """Return whether `name` is a training on a share of the sessions."""
    found = _VERSION_NAME.fullmatch(name)
    return bool(found and found[2] and found[2].startswith("-p"))
