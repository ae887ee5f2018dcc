"""How much there is to train on."""

from __future__ import annotations

from habla_ml.lake import Lake


def corpus_hours(lake: Lake) -> float:
    """Usable annotated hours, summed from the pointers of the corpus alone."""
    pointers = (lake.pointer(name) for name in lake.pointers("corpus/"))
    return round(sum(float(pointer.value["hours"]) for pointer in pointers if pointer is not None), 9)
