"""Checkpoints of unfinished trainings in the lake: replaced, kept apart from published weights, restored and deleted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from habla_ml.errors import TrainingError
from habla_ml.lake import Lake, catalogue
from habla_ml.training.checkpoints import (
    CheckpointStamp,
    find_latest_checkpoint,
    get_checkpoint_folder,
    prune_checkpoints,
    stamp_checkpoint,
)
from habla_ml.training.lake_checkpoints import (
    CheckpointStore,
    discard_training,
    handle_foreign_checkpoints,
    restore_checkpoint,
)
from habla_ml.training.lease import HeldLease, StoredCheckpoint, hold_lease, list_unfinished_trainings
from habla_ml.training.remedies import Remedies, read_remedies
from habla_ml_tests.testing.training_identities import make_identity

IDENTITY = make_identity()
REMEDIES = Remedies(batch_parts=2)


@pytest.fixture
def lease(lake: Lake) -> Iterator[HeldLease]:
    with hold_lease(lake, IDENTITY, "v1", None) as held:
        yield held


def write_checkpoint(checkpoints: Path, step: int) -> Path:
    folder = get_checkpoint_folder(checkpoints, step)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text(f"weights {step}")
    (folder / "optimizer.pt").write_text(f"moments {step}")
    (folder / "config.json").write_text('{"same": "in every checkpoint"}')
    (folder / "trainer_state.json").write_text('{"log_history": []}')
    stamp_checkpoint(folder, CheckpointStamp(identity=IDENTITY, step=step, elapsed_s=float(step), stopped=False))
    return folder


def store_checkpoint(store: CheckpointStore, checkpoints: Path, step: int, *best_steps: int) -> str | None:
    store.start(checkpoints, step, best_steps, REMEDIES)
    prune_checkpoints(checkpoints, set())  # the training goes on and deletes its own files
    store.wait()
    return store.take_result()


def list_large_contents(lake: Lake) -> set[str]:
    contents = (lake.get_bytes(each) for each in lake.list_object_ids())
    return {each.decode() for each in contents if each.startswith((b"weights", b"moments"))}


def test_the_latest_checkpoint_and_the_best_weights_replace_those_before(
    lake: Lake, lease: HeldLease, tmp_path: Path
) -> None:
    store, checkpoints = CheckpointStore(lake, lease, tmp_path / "stored"), tmp_path / "checkpoints"
    expected = {
        (4,): {"weights 4", "moments 4"},
        (8, 8): {"weights 8", "moments 8"},
        (12, 8): {"weights 8", "weights 12", "moments 12"},
        (16, 16, 8): {"weights 8", "weights 16", "moments 16"},
        (20, 16): {"weights 16", "weights 20", "moments 20"},
    }
    for (step, *best_steps), contents in expected.items():
        for each in {step, *best_steps}:
            write_checkpoint(checkpoints, each)
        result = store_checkpoint(store, checkpoints, step, *best_steps)
        assert result == f"the checkpoint of step {step} is in the lake"
        assert list_large_contents(lake) == contents
        reachable = lake.find_reachable(set(lake.list_object_ids()))
        assert {each for each in lake.list_object_ids() if lake.get_bytes(each).startswith(b"weights")} <= set(
            reachable
        )
    assert not (tmp_path / "stored").exists()
    assert store.take_result() is None


def test_another_folder_gets_both_with_the_remedies_and_resumes_the_latest(
    lake: Lake, lease: HeldLease, tmp_path: Path
) -> None:
    checkpoints = tmp_path / "first" / "checkpoints"
    for step in (8, 12):
        write_checkpoint(checkpoints, step)
    store_checkpoint(CheckpointStore(lake, lease, tmp_path / "stored"), checkpoints, 12, 8)
    stored = lease.training.checkpoint
    assert stored is not None
    second = tmp_path / "second" / "checkpoints"
    write_checkpoint(second, 4)
    assert restore_checkpoint(lake, IDENTITY, stored, second) == "the checkpoint of step 12 comes from the lake"
    latest = find_latest_checkpoint(second, IDENTITY)
    assert latest is not None
    assert (latest.folder.name, latest.stamp.step) == ("checkpoint-12", 12)
    assert (latest.folder / "optimizer.pt").read_text() == "moments 12"
    assert sorted(path.name for path in get_checkpoint_folder(second, 8).iterdir()) == [
        "config.json",
        "habla_ml.json",
        "model.safetensors",
        "trainer_state.json",
    ]
    assert not get_checkpoint_folder(second, 4).exists()
    assert read_remedies(second.parent) == REMEDIES
    assert restore_checkpoint(lake, IDENTITY, stored, second) is None
    write_checkpoint(second, 16)
    assert restore_checkpoint(lake, IDENTITY, stored, second) is None, "the local one is later"


def test_a_process_that_ends_before_it_wrote_the_remedies_restores_both_again(
    lake: Lake, lease: HeldLease, tmp_path: Path
) -> None:
    checkpoints = tmp_path / "first" / "checkpoints"
    write_checkpoint(checkpoints, 12)
    store_checkpoint(CheckpointStore(lake, lease, tmp_path / "stored"), checkpoints, 12)
    stored = lease.training.checkpoint
    assert stored is not None
    second = tmp_path / "second" / "checkpoints"
    (second.parent / "remedies.json").mkdir(parents=True)
    with pytest.raises(OSError, match="remedies"):
        restore_checkpoint(lake, IDENTITY, stored, second)
    (second.parent / "remedies.json").rmdir()
    assert restore_checkpoint(lake, IDENTITY, stored, second) == "the checkpoint of step 12 comes from the lake"
    assert read_remedies(second.parent) == REMEDIES


def test_weights_that_a_published_version_shares_with_a_checkpoint_stay(
    lake: Lake, lease: HeldLease, tmp_path: Path
) -> None:
    store, checkpoints = CheckpointStore(lake, lease, tmp_path / "stored"), tmp_path / "checkpoints"
    folder = write_checkpoint(checkpoints, 4)
    published = tmp_path / "published"
    published.mkdir()
    shutil.copy(folder / "model.safetensors", published)
    lake.move_pointer(catalogue.CHECKPOINT.name("v1"), {"tree": lake.put_tree(published)}, None)
    store_checkpoint(store, checkpoints, 4, 4)
    write_checkpoint(checkpoints, 8)
    store_checkpoint(store, checkpoints, 8, 8)
    assert list_large_contents(lake) == {"weights 4", "weights 8", "moments 8"}


def test_a_lake_that_fails_is_tried_again_and_keeps_the_checkpoint_before(
    lake: Lake, lease: HeldLease, tmp_path: Path
) -> None:
    store, checkpoints = CheckpointStore(lake, lease, tmp_path / "stored"), tmp_path / "checkpoints"
    write_checkpoint(checkpoints, 4)
    store_checkpoint(store, checkpoints, 4)
    before = lease.training.checkpoint
    objects = tmp_path / "lake" / "objects"
    objects.rename(tmp_path / "moved")
    objects.write_text("a file in place of the folder")
    write_checkpoint(checkpoints, 8)
    result = store_checkpoint(store, checkpoints, 8)
    assert result is not None
    assert result.startswith("the checkpoint of step 8 could not be stored")
    assert "tried again: LakeError: " in result
    assert lease.training.checkpoint == before
    objects.unlink()
    (tmp_path / "moved").rename(objects)
    write_checkpoint(checkpoints, 8)
    assert store_checkpoint(store, checkpoints, 8) == "the checkpoint of step 8 is in the lake"


def test_a_checkpoint_with_a_missing_file_is_not_used(lake: Lake, lease: HeldLease, tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    write_checkpoint(checkpoints, 4)
    store_checkpoint(CheckpointStore(lake, lease, tmp_path / "stored"), checkpoints, 4)
    stored = lease.training.checkpoint
    assert stored is not None
    [weights] = [each for each in lake.list_tree_files(stored.tree) if each.path == "model.safetensors"]
    lake.delete_objects([weights.sha256], rewritten=list(lake.list_pointers("")))
    second = tmp_path / "second" / "checkpoints"
    result = restore_checkpoint(lake, IDENTITY, stored, second)
    assert result is not None
    assert "step 4 in the lake is incomplete and is not used" in result
    assert not second.exists()


def test_a_training_of_another_device_is_refused_or_discarded(lake: Lake, tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    write_checkpoint(checkpoints, 4)
    with hold_lease(lake, IDENTITY, "v1", None) as lease:
        store_checkpoint(CheckpointStore(lake, lease, tmp_path / "stored"), checkpoints, 4)
    here = make_identity(device="NVIDIA L4")
    with pytest.raises(TrainingError, match=r"has step 4 of this training, made with device cpu instead of NVIDIA L4"):
        handle_foreign_checkpoints(lake, here, discard=False)
    handle_foreign_checkpoints(lake, make_identity("6" * 64, "NVIDIA L4"), discard=False)
    handle_foreign_checkpoints(lake, IDENTITY, discard=False)
    with hold_lease(lake, IDENTITY, "v1", None), pytest.raises(TrainingError, match="trains v1"):
        handle_foreign_checkpoints(lake, here, discard=True)
    handle_foreign_checkpoints(lake, here, discard=True)
    assert list(list_unfinished_trainings(lake)) == []
    assert list_large_contents(lake) == set()


def test_a_discarded_training_leaves_no_weights(lake: Lake, lease: HeldLease, tmp_path: Path) -> None:
    other = make_identity(device="other")
    tree = lake.put_tree(write_checkpoint(tmp_path / "checkpoints", 4))
    with hold_lease(lake, other, "v2", None) as held:
        held.store(StoredCheckpoint(step=4, tree=tree, best={}, remedies=REMEDIES))
    [training] = [each for each in list_unfinished_trainings(lake) if each.version == "v2"]
    discard_training(lake, training)
    assert [each.version for each in list_unfinished_trainings(lake)] == ["v1"]
    assert list_large_contents(lake) == set()
