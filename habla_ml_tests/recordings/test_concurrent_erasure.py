"""An erasure that begins while a day is published: the erased voice does not come in behind it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from habla_ml.consent.tombstones import add_tombstones
from habla_ml.errors import PointerMovedError
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.recordings.days import load_day, publish_day
from habla_ml.recordings.segments import RecordedSegment
from habla_ml_tests.testing.recorded_days import DAY, SimulatedSegment


@pytest.mark.parametrize("known_by", ["segment", "sound"])
def test_a_voice_that_is_erased_while_its_day_is_published_does_not_come_in(tmp_path: Path, known_by: str) -> None:
    lake = Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")
    erased, kept = (SimulatedSegment("3A", number).segment(DAY) for number in (1, 2))

    def read_while_an_erasure_runs() -> Iterator[RecordedSegment]:
        yield erased
        segments, sounds = ({erased.segment_id}, set()) if known_by == "segment" else (set(), {erased.audio_sha256})
        add_tombstones(lake, segments, sounds)
        yield kept

    with pytest.raises(PointerMovedError, match=f"an erasure began while {DAY} was written"):
        publish_day(lake, DAY, read_while_an_erasure_runs(), tmp_path / "work")
    assert load_day(lake, DAY) is None
    assert publish_day(lake, DAY, read_while_an_erasure_runs(), tmp_path / "work").segments == 1
