"""Usable hours of the corpus."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final

from habla_ml.lake import Lake, catalogue

_PARALLEL_READS: Final = 16
"""Concurrent pointer reads; on S3 latency dominates."""


def corpus_hours(lake: Lake) -> float:
    """Return the usable annotated hours; reads one pointer per day of recording."""
    with ThreadPoolExecutor(_PARALLEL_READS) as pool:
        pointers = list(pool.map(lake.read_pointer, map(catalogue.CORPUS.name, catalogue.CORPUS.keys(lake))))
    return round(sum(float(pointer.value["hours"]) for pointer in pointers if pointer is not None), 9)
