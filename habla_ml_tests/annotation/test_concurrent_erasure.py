"""An erasure that begins while events are appended: the erased text does not come in behind it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from habla_ml.annotation.event_log import append_events, load_events, read_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.consent.tombstones import add_tombstones
from habla_ml.errors import PointerMovedError
from habla_ml.lake import DirectoryStore, Lake

DAY = "2026-02-16"


def make_event(segment: str) -> AnnotationEvent:
    now = datetime(2026, 2, 17, 9, tzinfo=UTC)
    return AnnotationEvent(segment, "3A", DAY, f"El texto {segment}.", "corrected", "", "ana", "page", now, None)


def test_a_text_that_is_erased_while_it_is_appended_does_not_come_in(tmp_path: Path) -> None:
    lake = Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")

    def read_while_an_erasure_runs() -> Iterator[AnnotationEvent]:
        yield make_event("uno")
        add_tombstones(lake, {"uno"}, ())
        yield make_event("dos")

    with pytest.raises(PointerMovedError, match=f"an erasure began while the log of {DAY} was written"):
        append_events(lake, DAY, read_while_an_erasure_runs(), {})
    assert load_events(lake, DAY) is None
    log = append_events(lake, DAY, read_while_an_erasure_runs(), {})
    assert [each.text for each in read_events(lake, log)] == ["El texto dos."]
