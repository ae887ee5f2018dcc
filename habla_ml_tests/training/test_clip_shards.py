"""Clips that stay in the lake: the same audio through every reader, and no loss by a fault of the cache."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import WhisperTokenizer

from habla_ml.corpus.snapshot import Snapshot, locate_utterances, read_utterances
from habla_ml.errors import LakeError
from habla_ml.lake import DirectoryStore, Lake, S3Store
from habla_ml.training.clips import AnyUtterance, ClipStore, NonSpeech, write_clips
from habla_ml.training.target_forms import TargetMix
from habla_ml.training.targets import TargetEncoder
from habla_ml_tests.testing.base_model import BASE_MODEL
from habla_ml_tests.testing.s3_clients import BUCKET, count_requests, new_client
from habla_ml_tests.testing.training_snapshot import make_clips, publish_snapshot

_READERS = 4


@pytest.fixture(scope="module")
def targets() -> TargetEncoder:
    return TargetEncoder(WhisperTokenizer.from_pretrained(BASE_MODEL))


@pytest.fixture(params=["folder", "s3"])
def open_lake(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Lake]:
    """A function that opens the same lake with the same cache."""
    if request.param == "folder":
        return lambda: Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")
    endpoint, prefix = request.getfixturevalue("s3_endpoint"), f"tests/{uuid.uuid4().hex}"
    return lambda: Lake(S3Store(new_client(endpoint), BUCKET, prefix), tmp_path / "cache")


def list_shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("cache/parts/??/*"))


def open_stored(lake: Lake, snapshot: Snapshot, targets: TargetEncoder, folder: Path) -> ClipStore:
    return write_clips(locate_utterances(lake, snapshot, "train"), targets, folder, lake=lake)


def digest(clips: ClipStore, order: list[int]) -> str:
    found = hashlib.sha256()
    for each in order:
        found.update(clips.audio(each).tobytes())
    return found.hexdigest()


def test_stored_clips_are_those_of_the_decoded_snapshot(
    open_lake: Callable[[], Lake], targets: TargetEncoder, tmp_path: Path
) -> None:
    lake = open_lake()
    snapshot = publish_snapshot(lake, make_clips())
    train = list(read_utterances(lake, snapshot, "train"))
    replay = [replace(train[0], segment_id="general")]
    marked = NonSpeech(0.1, 5, [np.arange(900, dtype=np.int16)])
    mix = TargetMix(1, timestamps_share=0.5, previous_text_share=0.5)
    decoded = write_clips([*train, *replay], targets, tmp_path / "decoded", marked, mix)
    located: list[AnyUtterance] = [*locate_utterances(lake, snapshot, "train"), *replay]
    stored = write_clips(located, targets, tmp_path / "stored", marked, mix, lake)
    assert [each.segment_id for each in located] == [each.segment_id for each in (*train, *replay)]
    assert (stored.n_classroom, len(stored.samples)) == (len(train), len(decoded.samples) - stored.starts[len(train)])
    for name in ("starts", "labels", "label_starts", "n_speech"):
        assert np.array_equal(getattr(stored, name), getattr(decoded, name))
    assert stored.forms is not None
    assert decoded.forms is not None
    assert np.array_equal(stored.forms.bounds, decoded.forms.bounds)
    assert np.array_equal(stored.forms.previous, decoded.forms.previous)
    for each in np.random.default_rng(0).permutation(len(decoded)).tolist():
        assert np.array_equal(stored.audio(each), decoded.audio(each))
    assert len(list_shards(tmp_path)) == 4


def test_reading_a_shard_fetches_a_range_of_its_object(
    s3_endpoint: str, targets: TargetEncoder, tmp_path: Path
) -> None:
    client = new_client(s3_endpoint)
    lake = Lake(S3Store(client, BUCKET, f"tests/{uuid.uuid4().hex}"), tmp_path / "cache")
    snapshot = publish_snapshot(lake, make_clips())
    clips = open_stored(lake, snapshot, targets, tmp_path / "clips")
    requests, lengths = count_requests(client), []
    client.meta.events.register(
        "after-call.s3.GetObject", lambda parsed, **_: lengths.append(int(parsed["ContentLength"]))
    )
    clips.audio(0)
    objects = [each.size_bytes for each in lake.list_objects()]
    assert requests["GetObject"] == 2
    assert sum(lengths) < max(objects)
    clips.audio(1)
    assert requests["GetObject"] == 2
    assert clips.stored is not None
    assert set(lake.list_cached_ids()) == {snapshot.segments, str(clips.stored.shard_objects[0])}


def test_a_damaged_shard_is_made_again(targets: TargetEncoder, tmp_path: Path) -> None:
    lake = Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")
    clips = open_stored(lake, publish_snapshot(lake, make_clips()), targets, tmp_path / "clips")
    before = digest(clips, list(range(len(clips))))
    for index, path in enumerate(list_shards(tmp_path)):
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(data[: len(data) // 2] if index % 2 else data)
    assert digest(clips, list(range(len(clips)))) == before
    list_shards(tmp_path)[0].unlink()
    assert digest(clips, list(range(len(clips)))) == before


def test_a_cache_that_cannot_be_written_costs_time_only(
    targets: TargetEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    lake = Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")
    snapshot = publish_snapshot(lake, make_clips())
    clips = open_stored(lake, snapshot, targets, tmp_path / "clips")
    clips.fetch(lambda _: None)
    first = next(read_utterances(lake, snapshot, "train"))
    assert np.array_equal(clips.audio(0), first.audio)
    assert "decoded without a cache" in caplog.text


@pytest.mark.long
def test_a_small_cache_stays_below_its_limit_and_is_reported(targets: TargetEncoder, tmp_path: Path) -> None:
    lake = Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache", cache_limit_bytes=600_000)
    clips = open_stored(lake, publish_snapshot(lake, make_clips(60)), targets, tmp_path / "clips")
    lines: list[str] = []
    clips.fetch(lines.append)
    assert "each pass reads them from the lake again" in lines[0]
    order = np.random.default_rng(1).permutation(len(clips)).tolist()
    before = digest(clips, order)
    assert sum(each.stat().st_size for each in list_shards(tmp_path)) <= 600_000
    big = Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "big")
    assert clips.stored is not None
    assert digest(replace(clips, stored=replace(clips.stored, lake=big)), order) == before


def test_audio_that_differs_from_the_snapshot_is_refused(targets: TargetEncoder, tmp_path: Path) -> None:
    lake = Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")
    snapshot = publish_snapshot(lake, make_clips())
    located = [replace(each, audio_sha256="0" * 64) for each in locate_utterances(lake, snapshot, "train")]
    clips = write_clips(located, targets, tmp_path / "clips", lake=lake)
    with pytest.raises(LakeError, match=r"object .* is damaged: row group 0 has other audio in row 0"):
        clips.audio(0)
    path = lake.fetch_path(snapshot.recordings["2026-02-03"])
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(LakeError, match="no readable audio"):
        clips.audio(len(clips) - 1)


def test_an_erased_object_leaves_no_shard(targets: TargetEncoder, tmp_path: Path) -> None:
    lake = Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")
    snapshot = publish_snapshot(lake, make_clips())
    open_stored(lake, snapshot, targets, tmp_path / "clips").fetch(lambda _: None)
    gone = snapshot.recordings["2026-02-02"]
    assert len(list_shards(tmp_path)) == 4
    lake.delete_objects([gone])
    assert len(list_shards(tmp_path)) == 2
    assert gone not in list(lake.list_cached_ids())


def _read_in_process(clips: ClipStore, order: list[int], answers: multiprocessing.Queue[str], dies: bool) -> None:
    if dies:
        clips.audio(order[0])
        os._exit(9)
    answers.put(digest(clips, order))


@pytest.mark.long
def test_several_processes_share_the_shards_and_one_may_die(
    open_lake: Callable[[], Lake], targets: TargetEncoder, tmp_path: Path
) -> None:
    lake = open_lake()
    clips = open_stored(lake, publish_snapshot(lake, make_clips()), targets, tmp_path / "clips")
    order = np.random.default_rng(2).permutation(len(clips)).tolist()
    context = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue[str] = context.Queue()
    readers = [
        context.Process(target=_read_in_process, args=(clips, order, answers, number == 0))
        for number in range(_READERS)
    ]
    for each in readers:
        each.start()
    found = {answers.get(timeout=60) for _ in readers[1:]}
    for each in readers:
        each.join()
    assert found == {digest(clips, order)}
    assert [each.exitcode for each in readers] == [9, 0, 0, 0]
    assert len(list_shards(tmp_path)) == 4
