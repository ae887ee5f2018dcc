"""The segments that review queues selected as uncertain."""

from __future__ import annotations

from habla_ml.annotation.review_queue import iterate_chosen_segments
from habla_ml.lake import Lake


def read_chosen_segments(lake: Lake) -> set[str]:
    return {segment for batch in iterate_chosen_segments(lake) for segment in batch["segment_id"].to_pylist()}
