"""One process at a time trains a run, wherever its folder is."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from habla_ml.errors import LakeError, TrainingLeasedError
from habla_ml.lake import DirectoryStore, Lake, Pointer, S3Store, catalogue
from habla_ml.training import lease as lease_module
from habla_ml.training.identity import RunIdentity
from habla_ml.training.lease import (
    CLOCK_SKEW_S,
    HeldLease,
    StoredCheckpoint,
    hold_lease,
    list_unfinished_trainings,
    read_unfinished_training,
)
from habla_ml.training.remedies import Remedies
from habla_ml_tests.testing.s3_clients import BUCKET, new_client
from habla_ml_tests.testing.training_identities import make_identity

CHECKPOINT = StoredCheckpoint(step=4, tree="a" * 64, best={}, remedies=Remedies())


@pytest.fixture
def identity() -> RunIdentity:
    return make_identity()


@pytest.fixture(params=["folder", "s3"])
def shared_lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "folder":
        return Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")
    client = new_client(request.getfixturevalue("s3_endpoint"))
    return Lake(S3Store(client, BUCKET, f"lease/{uuid.uuid4().hex}"), tmp_path / "cache")


@contextmanager
def hold(lake: Lake, identity: RunIdentity, folder: Path | None = None) -> Iterator[HeldLease]:
    with hold_lease(lake, identity, "v1", None if folder is None else folder / "lease") as lease:
        yield lease


def read_pointer(lake: Lake, identity: RunIdentity) -> Pointer | None:
    return lake.read_pointer(catalogue.UNFINISHED_TRAINING.name(identity.digest))


def leave_as_killed(lake: Lake, identity: RunIdentity, folder: Path) -> None:
    """Take the lease as a process that is then killed does: it neither renews nor releases it."""
    lease_module._take(lake, identity, "v1", folder / "lease").store(CHECKPOINT)


def end_lease(lake: Lake, identity: RunIdentity, ended_before_s: float) -> None:
    pointer = read_pointer(lake, identity)
    assert pointer is not None
    expires_at = (datetime.now(UTC) - timedelta(seconds=ended_before_s)).isoformat()
    lake.move_pointer(
        pointer.name, {**pointer.value, "lease": {**pointer.value["lease"], "expires_at": expires_at}}, pointer
    )


def test_a_second_holder_is_refused_with_the_first_one_and_the_remaining_time(
    lake: Lake, identity: RunIdentity
) -> None:
    with (
        hold(lake, identity),
        pytest.raises(
            TrainingLeasedError, match=r"process \d+ on .* trains v1 .* its lease ends in 1[45]\d s unless it renews"
        ),
        hold(lake, identity),
    ):
        pass
    assert read_pointer(lake, identity) is None, "nothing stays where no checkpoint was stored"


def test_another_identity_has_a_lease_of_its_own(lake: Lake, identity: RunIdentity) -> None:
    with hold(lake, identity), hold(lake, identity.model_copy(update={"seed": 5})):
        assert len(list(list_unfinished_trainings(lake))) == 2


def test_a_normal_end_keeps_the_checkpoint_and_frees_the_lease_at_once(lake: Lake, identity: RunIdentity) -> None:
    with hold(lake, identity) as lease:
        lease.store(CHECKPOINT)
    with hold(lake, identity) as lease:
        assert lease.training.checkpoint == CHECKPOINT
        lease.finish()
    assert read_pointer(lake, identity) is None


def test_a_lease_is_taken_over_when_it_has_ended_by_both_clocks(
    lake: Lake, identity: RunIdentity, tmp_path: Path
) -> None:
    leave_as_killed(lake, identity, tmp_path / "first")
    end_lease(lake, identity, CLOCK_SKEW_S - 5)
    with pytest.raises(TrainingLeasedError, match=r"ends in [345] s"), hold(lake, identity, tmp_path / "second"):
        pass
    end_lease(lake, identity, CLOCK_SKEW_S + 1)
    with hold(lake, identity, tmp_path / "second") as lease:
        assert lease.training.checkpoint == CHECKPOINT


def test_a_holder_that_was_paused_can_store_nothing_and_leaves_the_new_one_alone(
    lake: Lake, identity: RunIdentity
) -> None:
    with ExitStack() as new_holder:
        with hold(lake, identity) as paused:
            end_lease(lake, identity, CLOCK_SKEW_S + 1)
            new = new_holder.enter_context(hold(lake, identity))
            paused.check()  # it has not noticed
            with pytest.raises(TrainingLeasedError, match=r"this process lost the lease .* took it over"):
                paused.store(CHECKPOINT)
            with pytest.raises(TrainingLeasedError):
                paused.check()
        assert new.training.checkpoint is None
        new.renew()


def test_a_killed_holder_of_the_same_folder_need_not_be_waited_for(
    lake: Lake, identity: RunIdentity, tmp_path: Path
) -> None:
    leave_as_killed(lake, identity, tmp_path)
    with hold(lake, identity, tmp_path) as lease:
        assert lease.training.checkpoint == CHECKPOINT


def test_a_copy_of_the_folder_and_a_folder_of_another_host_prove_nothing(
    lake: Lake, identity: RunIdentity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_as_killed(lake, identity, tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    with pytest.raises(TrainingLeasedError), hold(lake, identity, tmp_path / "copy"):
        pass
    monkeypatch.setattr("socket.gethostname", lambda: "another-host")
    with pytest.raises(TrainingLeasedError), hold(lake, identity, tmp_path / "first"):
        pass


def test_the_thread_renews_the_lease_and_notices_its_loss(
    lake: Lake, identity: RunIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "_RENEWED_EVERY_S", 0.01)
    with hold(lake, identity) as lease:
        first = lease.training.lease
        assert first is not None
        wait_for(lambda: lease.training.lease.expires_at > first.expires_at)  # type: ignore[union-attr]
        lake.delete_pointer(catalogue.UNFINISHED_TRAINING.name(identity.digest))  # as an erasure does
        wait_for(lambda: lease._lost is not None)
        with pytest.raises(TrainingLeasedError, match="it was deleted or released"):
            lease.check()


def wait_for(condition: object) -> None:
    waiting = threading.Event()
    while not condition():  # type: ignore[operator]
        waiting.wait(0.01)


class LostAnswers(DirectoryStore):
    """A store whose next change of a pointer is made, but looks as if it had failed."""

    loses = False

    def compare_and_set(self, key: str, data: bytes, expected: str | None) -> str:
        tag = super().compare_and_set(key, data, expected)
        if self.loses:
            self.loses = False
            raise LakeError("the answer was lost")
        return tag


def test_a_change_whose_answer_was_lost_does_not_lose_the_lease(tmp_path: Path, identity: RunIdentity) -> None:
    store = LostAnswers(tmp_path / "lake")
    lake = Lake(store, tmp_path / "cache")
    with hold(lake, identity) as lease:
        store.loses = True
        with pytest.raises(LakeError):
            lease.renew()
        lease.store(CHECKPOINT)
    pointer = read_pointer(lake, identity)
    assert pointer is not None
    assert read_unfinished_training(pointer).checkpoint == CHECKPOINT


def test_of_many_that_begin_at_once_one_gets_the_lease(shared_lake: Lake, identity: RunIdentity) -> None:
    results: list[str] = []
    begin, end = threading.Barrier(4), threading.Barrier(4)

    def begin_training() -> None:
        begin.wait()
        try:
            with hold(shared_lake, identity):
                results.append("held")
                end.wait()
        except TrainingLeasedError:
            results.append("refused")
            end.wait()

    threads = [threading.Thread(target=begin_training) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(results) == ["held", "refused", "refused", "refused"]
