"""What model versions are called: `v3`; `v3-s2`, the same training with a second seed; `v3-p25`, on a quarter of it.

A repeat tells how far seeds lie apart, or what hours buy, and is nothing else: it is never newer than another version,
no growth of the corpus counts from it, and it is not released.
"""

from __future__ import annotations

import re
from typing import Final

FIRST_REPLICATE: Final = 2
"""The version itself is the first of its seeds."""
_VERSION_NAME = re.compile(r"(v[1-9][0-9]*)(-(?:s(?:[2-9]|[1-9][0-9]+)|p[1-9][0-9]?))?")


def is_version(name: str) -> bool:
    """Whether `name` is that of a version or of a repeat."""
    return _VERSION_NAME.fullmatch(name) is not None


def version_number(name: str) -> int:
    """12 for `v12`; 0 for a repeat and for names of other shapes, which sort first."""
    found = _VERSION_NAME.fullmatch(name)
    return int(name[1:]) if found and found[2] is None else 0


def parent_version(name: str) -> str | None:
    """`v3` for its repeats `v3-s2` and `v3-p25`; None for what repeats nothing."""
    found = _VERSION_NAME.fullmatch(name)
    return found[1] if found and found[2] else None


def replicate_name(version: str, seed: int) -> str:
    """`v3-s2` for the second seed of `v3`."""
    return f"{version}-s{seed}"


def subset_run_name(version: str, percent: int) -> str:
    """`v3-p25` for `v3` trained on a quarter of its sessions."""
    return f"{version}-p{percent}"


def is_subset_run(name: str) -> bool:
    """Whether `name` is that of a training on a part of the sessions."""
    found = _VERSION_NAME.fullmatch(name)
    return bool(found and found[2] and found[2].startswith("-p"))
