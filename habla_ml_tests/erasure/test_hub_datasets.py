"""A withdrawn voice leaves the hub with its history, and an erasure is never finished while the hub can have it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import pyarrow.parquet as pq
import pytest

from habla_ml.audio import encode_flac
from habla_ml.consent.tombstones import add_tombstones, read_tombstones
from habla_ml.corpus.hub_dataset.push import lock_hub_datasets
from habla_ml.corpus.hub_dataset.pushes import make_tag
from habla_ml.corpus.snapshot import OPEN_SPLITS, load_latest_snapshot, read_utterances
from habla_ml.erasure.erase import plan_erasure
from habla_ml.erasure.hub_datasets import (
    confirm_deleted_repository,
    erase_from_hub,
    has_erased_voice,
    list_pending_datasets,
)
from habla_ml.errors import CorpusError, ServiceError, SettingsError
from habla_ml.hub.repository import HubRepository
from habla_ml.lake import DirectoryStore, Lake, catalogue
from habla_ml_tests.testing.hub_datasets import (
    DATASET_NAME,
    DAY,
    HUB_TOKEN,
    WITHDRAWN,
    DatasetDeployment,
    deployment,
    hub,
    name_session,
)
from habla_ml_tests.testing.process_kill import run_until_killed

__all__ = ["deployment", "hub"]


def list_voice(deployment: DatasetDeployment, number: int = 0) -> list[bytes]:
    """Return the FLAC bytes of a session."""
    return [
        encode_flac(each.audio)
        for split in OPEN_SPLITS
        for each in read_utterances(deployment.lake, deployment.snapshot, split)
        if each.session_id == name_session(number)
    ]


def count_traces(deployment: DatasetDeployment, voice: list[bytes]) -> int:
    """Return how many stored clips of the hub are of this voice, in whatever commit, large file or reference."""
    clips = (
        row["audio"]["bytes"]
        for data in deployment.list_stored_bytes()
        if data[:4] == b"PAR1"
        for row in pq.ParquetFile(io.BytesIO(data)).read().to_pylist()
    )
    return sum(each in voice for each in clips)


def test_an_erasure_removes_file_history_tag_and_large_file(deployment: DatasetDeployment) -> None:
    pushed, found = deployment.push(), deployment.repository
    voice = list_voice(deployment)
    assert len(voice) == 2
    assert count_traces(deployment, voice) >= 4  # in a commit, and as a large file

    report = deployment.erase()

    assert (report.hub_datasets, report.pending) == ((DATASET_NAME,), ())
    assert count_traces(deployment, voice) == 0
    assert (found.tags, found.large_files) == ({}, {})
    assert pushed.commit not in found.commits
    assert found.files("main").keys() == {".gitattributes", "README.md"}
    assert b"withdrew the consent" in found.files("main")["README.md"]
    assert len(found.commits) == 1
    assert deployment.recorded.pushes == ()
    assert deployment.recorded.erasures[0].tags == (pushed.tag,)
    (erasure,) = read_tombstones(deployment.lake).find_erasures(WITHDRAWN)
    assert erasure.hub_datasets == (DATASET_NAME,)


def test_the_next_snapshot_has_the_other_voices_only(deployment: DatasetDeployment) -> None:
    deployment.push()
    voice, others = list_voice(deployment), list_voice(deployment, 1)
    deployment.erase()
    deployment.snapshot = load_latest_snapshot(deployment.lake)
    pushed = deployment.push()
    assert deployment.repository.tags == {pushed.tag: pushed.commit}
    assert count_traces(deployment, voice) == 0
    assert count_traces(deployment, others) >= 4


@pytest.mark.long
def test_an_earlier_snapshot_without_the_voice_keeps_its_tag_and_a_later_one_goes(
    deployment: DatasetDeployment,
) -> None:
    first = deployment.push()
    deployment.record(range(5, 6))
    second = deployment.push()
    deployment.record(range(6, 7))
    deployment.push()
    voice, kept_files = list_voice(deployment, 5), dict(deployment.repository.files(first.tag))

    deployment.erase(sessions=[name_session(5)])

    found = deployment.repository
    assert count_traces(deployment, voice) == 0
    assert found.tags == {first.tag: first.commit}
    assert found.files(first.tag) == kept_files
    stored = {hashlib.sha256(data).hexdigest() for path, data in kept_files.items() if path.endswith(".parquet")}
    assert found.large_files.keys() == stored
    assert second.commit not in found.commits
    assert [each.tag for each in deployment.recorded.pushes] == [first.tag]


def test_branches_and_tags_of_other_people_lose_the_voice_too(deployment: DatasetDeployment) -> None:
    pushed, found, voice = deployment.push(), deployment.repository, list_voice(deployment)
    found.tags["mine"] = pushed.commit
    found.branches["try"] = pushed.commit
    data = {path: each for path, each in found.files("try").items() if path.startswith("data/")}
    found.add("try", {f"copied/{path}": each for path, each in data.items()} | {"notes.txt": b"notes"}, "a copy")

    deployment.erase()

    assert count_traces(deployment, voice) == 0
    assert found.tags == {}
    assert found.files("try").keys() == {"notes.txt"}
    assert [len(found.list_history(each)) for each in ("main", "try")] == [1, 1]


@pytest.mark.long
def test_files_of_a_push_that_was_killed_before_its_commit_are_removed(deployment: DatasetDeployment) -> None:
    voice = list_voice(deployment)

    def work(before_step: Callable[[], None]) -> None:
        upload = HubRepository.find_differences
        HubRepository.find_differences = lambda *each: before_step() or upload(*each)  # type: ignore[method-assign]
        deployment.push()

    assert run_until_killed(work, 1)
    assert count_traces(deployment, voice) > 0
    assert deployment.repository.tags == {}
    report = deployment.erase()
    assert report.hub_datasets == (DATASET_NAME,)
    assert count_traces(deployment, voice) == 0


def test_with_the_hub_down_the_erasure_stays_unfinished_until_it_is_up(
    deployment: DatasetDeployment, tmp_path: Path
) -> None:
    deployment.push()
    voice = list_voice(deployment)
    deployment.hub.is_down = True

    report = deployment.erase()

    assert report.hub_datasets == ()
    (reason,) = report.pending
    assert f"{DATASET_NAME} on the Hub can still have the voice" in reason
    assert "HTTP 503" in reason
    assert [each.repository for each in list_pending_datasets(deployment.lake)] == [DATASET_NAME]
    assert count_traces(deployment, voice) > 0
    stored = b"".join(each.read_bytes() for each in (tmp_path / "lake").rglob("*") if each.is_file())
    assert not any(each in stored for each in voice)  # the lake does not wait
    deployment.snapshot = load_latest_snapshot(deployment.lake)
    with pytest.raises(CorpusError, match="must be erased"):
        deployment.push()

    deployment.hub.is_down = False
    assert erase_from_hub(deployment.lake, deployment.settings).cleaned == (DATASET_NAME,)
    assert count_traces(deployment, voice) == 0
    assert list_pending_datasets(deployment.lake) == ()
    assert HUB_TOKEN not in reason


@pytest.mark.slow
def test_an_erasure_killed_before_any_request_is_known_and_finished(
    deployment: DatasetDeployment, tmp_path: Path
) -> None:
    import httpx2
    from huggingface_hub import close_session, set_client_factory

    deployment.push()
    voice, step, pushed = list_voice(deployment), 1, deepcopy(deployment.repository)
    deployment.hub.is_down = True
    deployment.erase()
    deployment.hub.is_down = False
    copytree(tmp_path / "lake", backup := tmp_path / "backup")
    close_session()

    def work(before_step: Callable[[], None]) -> None:
        hooks = {"request": [lambda request: before_step()]}
        set_client_factory(lambda: httpx2.Client(event_hooks=hooks, follow_redirects=True))
        assert erase_from_hub(deployment.lake, deployment.settings).pending == ()

    while run_until_killed(work, step):
        lake = Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")
        assert count_traces(deployment, voice) == 0 or list_pending_datasets(lake)
        assert list_pending_datasets(lake), step  # the last look at the hub is before the end
        assert erase_from_hub(lake, deployment.settings).cleaned == (DATASET_NAME,)
        assert count_traces(deployment, voice) == 0
        assert list_pending_datasets(lake) == ()
        rmtree(tmp_path / "lake")
        copytree(backup, tmp_path / "lake")
        deployment.hub.repositories[f"datasets/{DATASET_NAME}"] = deepcopy(pushed)
        step += 2  # every step takes twice the time, and passed too
    assert step > 15


def test_references_that_no_program_can_clean_keep_it_unfinished_until_the_repository_is_deleted(
    deployment: DatasetDeployment,
) -> None:
    pushed, found = deployment.push(), deployment.repository
    found.converts["parquet"] = pushed.commit
    (reason,) = deployment.erase().pending
    assert "refs/convert/parquet" in reason
    assert f"habla-ml erase --deleted-on-hub {DATASET_NAME}" in reason
    with pytest.raises(ServiceError, match="is still there"):
        confirm_deleted_repository(deployment.lake, deployment.settings, DATASET_NAME)
    assert list_pending_datasets(deployment.lake)

    del deployment.hub.repositories[f"datasets/{DATASET_NAME}"]
    (reason,) = erase_from_hub(deployment.lake, deployment.settings).pending
    assert "this token finds no" in reason
    confirm_deleted_repository(deployment.lake, deployment.settings, DATASET_NAME)
    assert list_pending_datasets(deployment.lake) == ()
    assert deployment.recorded.erasures[-1].is_repository_deleted
    deployment.snapshot = load_latest_snapshot(deployment.lake)
    assert deployment.push().is_new


def test_a_repository_that_was_renamed_or_is_at_another_address_keeps_it_unfinished(
    deployment: DatasetDeployment,
) -> None:
    deployment.push()
    deployment.repository.new_name = "our-school/other"
    (reason,) = deployment.erase().pending
    assert "is called our-school/other now" in reason
    deployment.repository.new_name = None
    plain = deployment.settings.corpus
    moved = plain.hub_dataset.model_copy(update={"endpoint": "https://hub.example.org"})
    settings = deployment.settings.model_copy(update={"corpus": plain.model_copy(update={"hub_dataset": moved})})
    (reason,) = erase_from_hub(deployment.lake, settings).pending
    assert "set it to that address" in reason
    with pytest.raises(SettingsError, match=f"choose one of: {DATASET_NAME}"):
        confirm_deleted_repository(deployment.lake, deployment.settings, "our-school/unknown")


def test_a_token_that_the_hub_refuses_is_no_deleted_repository(
    deployment: DatasetDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.push()
    monkeypatch.setenv("HF_TOKEN", f"{HUB_TOKEN}Wrong")
    (reason,) = deployment.erase().pending
    assert "HTTP 401" in reason
    assert HUB_TOKEN not in reason
    with pytest.raises(ServiceError, match="HTTP 401"):
        confirm_deleted_repository(deployment.lake, deployment.settings, DATASET_NAME)
    monkeypatch.delenv("HF_TOKEN")
    (reason,) = erase_from_hub(deployment.lake, deployment.settings).pending
    assert "HF_TOKEN is not set" in reason


def test_a_voice_that_only_a_pushed_snapshot_has_is_found(deployment: DatasetDeployment) -> None:
    deployment.push()
    voice = list_voice(deployment)
    deployment.write_register(withdrawn="2026-05-01")
    for name in (catalogue.RECORDINGS.name(DAY), catalogue.CORPUS.name(DAY), catalogue.SPLITS):
        deployment.lake.delete_pointer(name)
    contributor = deployment.load_contributor()
    plan = plan_erasure(deployment.lake, contributor, deployment.settings, datetime.now(UTC))
    assert (len(plan.contributor_data.segments), plan.hub_datasets) == (2, (DATASET_NAME,))
    assert len(voice) == 2


def test_a_tombstone_that_no_erasure_wrote_reaches_the_hub_too(deployment: DatasetDeployment) -> None:
    deployment.push()
    voice = list_voice(deployment)
    first = next(
        each
        for split in OPEN_SPLITS
        for each in read_utterances(deployment.lake, deployment.snapshot, split)
        if each.session_id == name_session(0)
    )
    assert not has_erased_voice(deployment.lake, deployment.recorded)
    add_tombstones(deployment.lake, [], [first.audio_sha256])
    assert has_erased_voice(deployment.lake, deployment.recorded)
    assert erase_from_hub(deployment.lake, deployment.settings).cleaned == (DATASET_NAME,)
    assert count_traces(deployment, voice) == 0
    assert not has_erased_voice(deployment.lake, deployment.recorded)


def test_an_erasure_waits_for_a_push_of_this_machine(deployment: DatasetDeployment) -> None:
    deployment.push()
    with lock_hub_datasets(deployment.settings.work_folder):
        (reason,) = deployment.erase().pending
    assert "another process pushes a dataset" in reason
    assert erase_from_hub(deployment.lake, deployment.settings).cleaned == (DATASET_NAME,)


@pytest.mark.parametrize("moment", ["list_files", "commit", "find_differences", "create_tag"])
def test_a_voice_that_is_withdrawn_during_a_push_on_another_machine_is_left_to_erase(
    deployment: DatasetDeployment, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice, tag, consents = list_voice(deployment), make_tag(deployment.snapshot.id), deployment.load_consents()
    pushing = deployment.settings
    call = getattr(HubRepository, moment)

    def withdraw_first(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(HubRepository, moment, call)
        deployment.settings = pushing.model_copy(update={"work_folder": tmp_path / "other" / "work"})
        deployment.erase()
        return call(*arguments, **options)

    monkeypatch.setattr(HubRepository, moment, withdraw_first)
    with pytest.raises(CorpusError, match="was withdrawn during the push"):
        deployment.push(consents)
    assert list_pending_datasets(deployment.lake)
    assert erase_from_hub(deployment.lake, pushing).pending == ()
    assert count_traces(deployment, voice) == 0
    assert tag not in deployment.repository.tags
