"""How much there is to train on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final

from habla_ml.lake import Lake, catalogue

_PARALLEL_READS: Final = 16
"""Pointers asked for at the same time: on S3 the way there is what takes time."""


def corpus_hours(lake: Lake) -> float:
    """Usable annotated hours, summed from the pointers of the corpus alone: one small read a day of recording."""
    with ThreadPoolExecutor(_PARALLEL_READS) as pool:
        pointers = list(pool.map(lake.read_pointer, map(catalogue.CORPUS.name, catalogue.CORPUS.keys(lake))))
    return round(sum(float(pointer.value["hours"]) for pointer in pointers if pointer is not None), 9)
