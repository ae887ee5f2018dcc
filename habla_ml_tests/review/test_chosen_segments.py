"""The ids of selected segments, as a list and as a table that grows by what a queue adds."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from habla_ml.annotation import review_queue
from habla_ml.annotation.review_queue import ReviewItem, iterate_chosen_segments, save_queue
from habla_ml.lake import Lake, catalogue, shards
from habla_ml.lake.reachability import find_ids_in_text
from habla_ml_tests.testing.chosen_segments import read_chosen_segments
from habla_ml_tests.testing.text_corpora import create_empty_lake

MADE_AT = datetime(2026, 2, 16, tzinfo=UTC)
queues = st.lists(st.dictionaries(st.integers(0, 30), st.booleans(), max_size=8), min_size=1, max_size=5)


def make_items(segments: dict[int, bool]) -> list[ReviewItem]:
    """Return an item for each segment; the value says whether it is random."""
    return [
        ReviewItem(f"{number:02}", "s", "2026-02-16", "x", 1.0, "", "habla", 1.0, (), is_random=is_random)
        for number, is_random in segments.items()
    ]


@pytest.mark.long
@given(queues, st.sampled_from([0, 5, 100]), st.sampled_from([1, 4, 100]))
@settings(max_examples=20, deadline=None)
def test_any_queues_keep_each_selected_segment_once(
    made: list[dict[int, bool]], most_listed: int, shard_rows: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(review_queue, "MAX_LISTED_SEGMENTS", most_listed)
        patch.setattr(shards, "_SMALL_SHARD_ROWS", shard_rows)
        lake, expected = create_empty_lake(Path(folder)), set[str]()
        for segments in made:
            save_queue(lake, make_items(segments), MADE_AT)
            expected |= {f"{number:02}" for number, is_random in segments.items() if not is_random}
            assert read_chosen_segments(lake) == expected
            assert sum(batch.num_rows for batch in iterate_chosen_segments(lake)) == len(expected)


def test_a_queue_writes_its_own_segments_and_keeps_full_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review_queue, "MAX_LISTED_SEGMENTS", 3)
    monkeypatch.setattr(shards, "_SMALL_SHARD_ROWS", 4)
    lake = create_empty_lake(tmp_path)
    stored = []
    for first in (0, 4, 4, 8):
        save_queue(lake, make_items({first + each: False for each in range(4)}), MADE_AT)
        stored.append(_find_chosen(lake))
    table, both, again, three = stored
    assert both == again
    assert lake.get_json(both)["shards"][0]["parquet"] == table
    assert len(find_ids_in_text(lake.get_bytes(three).decode())) == 3


def _find_chosen(lake: Lake) -> str:
    pointer = lake.read_pointer(catalogue.REVIEW_QUEUE)
    assert pointer is not None
    return str(pointer.value["chosen"])
