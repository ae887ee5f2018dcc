"""A voice in the sealed sessions was used by the versions that the release decoded them for, and by no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from habla_ml.corpus.snapshot import read_sealed_utterances
from habla_ml.erasure.contributor_data import ContributorData, find_affected_versions
from habla_ml.erasure.table_index import load_index
from habla_ml.lake import Lake
from habla_ml_tests.testing.text_corpora import create_empty_lake
from habla_ml_tests.testing.training_snapshot import SENTENCES, TrainingClipSpec, publish_snapshot


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return create_empty_lake(tmp_path)


def test_only_the_versions_with_a_sealed_result_used_a_sealed_voice(lake: Lake) -> None:
    clips = [TrainingClipSpec(f"{split}-1", split, SENTENCES[0], 1.0) for split in ("train", "test", "sealed")]
    snapshot = publish_snapshot(lake, clips)
    for version in ("v1", "v2"):
        for stage in ("plan", "report"):
            lake.move_pointer(f"models/{version}/{stage}", {"snapshot": snapshot.id}, None)
    (sealed,) = read_sealed_utterances(lake, snapshot)
    data = ContributorData({sealed.segment_id: 1.0}, frozenset({sealed.audio_sha256}), {"s": 1}, (), frozenset())
    assert find_affected_versions(lake, data, load_index(lake)).evaluated == ()
    lake.move_pointer("models/v2/sealed", {"result": "0" * 64, "snapshot": snapshot.id}, None)
    found = find_affected_versions(lake, data, load_index(lake))
    assert (found.trained, found.evaluated) == ((), ("v2",))
