"""Mutated audio files get only documented answers, and stop nothing; a few here, 10,000 in `make soak`."""

from pathlib import Path

import pytest

from habla_ml_tests.soak.mutated_uploads import EXPECTED, upload_mutations


@pytest.mark.slow
def test_mutated_files_are_answered_as_documented_and_each_is_ingested_or_set_aside(tmp_path: Path) -> None:
    report = upload_mutations(tmp_path, count=80, seed=1)
    assert report.problems == ()
    assert set(report.sent) == set(EXPECTED)
    assert min(report.segments, report.set_aside) > 0
