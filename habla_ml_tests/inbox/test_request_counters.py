"""Counters that several processes share."""

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from habla_ml.errors import LakeError
from habla_ml.inbox.request_counters import RequestCounters

NOW = datetime(2026, 11, 29, 6, 30, tzinfo=UTC)


def test_a_window_ends_and_takes_its_counters_with_it(tmp_path: Path) -> None:
    counters = RequestCounters(tmp_path / "counters.sqlite")
    assert [counters.add("a", each, 60, NOW) for each in (1, 5)] == [1, 6]
    assert (counters.read("a", 60, NOW), counters.read("b", 60, NOW)) == (6, 0)
    later = NOW + timedelta(seconds=60)
    assert counters.read("a", 60, later) == 0
    assert counters.add("b", 1, 60, later) == 1
    assert counters.read("a", 60, NOW) == 0


def test_processes_count_together(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from habla_ml.inbox.request_counters import RequestCounters\n"
        "from habla_ml_tests.inbox.test_request_counters import NOW\n"
        "counters = RequestCounters(Path(sys.argv[1]))\n"
        "for _ in range(200): counters.add('a', 1, 60, NOW, at_once=True)\n"
    )
    path = tmp_path / "counters.sqlite"
    running = [subprocess.Popen([sys.executable, "-c", script, str(path)]) for _ in range(2)]
    assert [each.wait() for each in running] == [0, 0]
    assert RequestCounters(path).read("a", 60, NOW) == 400


def test_processes_learn_of_each_other_within_a_second(tmp_path: Path) -> None:
    one, other = (RequestCounters(tmp_path / "counters.sqlite") for _ in range(2))
    assert [one.add("a", 1, 60, NOW) for _ in range(3)] == [1, 2, 3]
    assert other.add("a", 1, 60, NOW) == 2
    time.sleep(1.0)
    assert one.add("a", 1, 60, NOW) == 5
    assert other.add("a", 1, 60, NOW) == 6
    assert (one.read("a", 60, NOW), other.add("b", 1, 60, NOW)) == (6, 1)


def test_a_file_that_cannot_be_used_is_a_fault_of_the_environment(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match=r"set service\.folder"):
        RequestCounters(tmp_path)
