"""The segments that review queues selected as uncertain."""

from __future__ import annotations

from habla_ml.annotation.review_queue import iterate_chosen_segments
from habla_ml.lake import Lake, catalogue


def read_chosen_segments(lake: Lake) -> set[str]:
    return {segment for batch in iterate_chosen_segments(lake) for segment in batch["segment_id"].to_pylist()}


def choose_segments(lake: Lake, chosen: set[str]) -> None:
    """Replace the review queue by one without entries that selected these segments."""
    value = {"queue": lake.put_json({}), "chosen": lake.put_json(sorted(chosen)), "sent_back": lake.put_json([])}
    lake.move_pointer(catalogue.REVIEW_QUEUE, value, lake.read_pointer(catalogue.REVIEW_QUEUE))
