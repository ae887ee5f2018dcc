"""Snapshots on a hub: private, one commit and a tag each, whole after a kill, without a name, and loadable."""

from __future__ import annotations

import io
import json
import logging
import re
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from habla_ml.corpus.hub_dataset.push import lock_hub_datasets
from habla_ml.corpus.hub_dataset.pushes import make_tag, update_hub_dataset
from habla_ml.corpus.snapshot import OPEN_SPLITS, read_utterances
from habla_ml.errors import CorpusError, HablaError, PointerMovedError, ReleaseError, ServiceError, SettingsError
from habla_ml.recordings.segments import segment_id
from habla_ml_tests.testing.hub_datasets import (
    DATASET_NAME,
    HUB_TOKEN,
    TEACHER,
    DatasetDeployment,
    deployment,
    hub,
    name_session,
)
from habla_ml_tests.testing.hub_server import StubHub
from habla_ml_tests.testing.hub_storage import HubRefusalError, StubRepository
from habla_ml_tests.testing.process_kill import run_until_killed

__all__ = ["deployment", "hub"]

DATA_FILES = {f"data/{split}-00000.parquet" for split in OPEN_SPLITS}
ALL_FILES = DATA_FILES | {"README.md", "habla_dataset.json", ".gitattributes"}


def check_out(deployment: DatasetDeployment, folder: Path) -> Path:
    """Write the tagged files of the hub to a folder, as a download does."""
    for path, data in deployment.repository.files(make_tag(deployment.snapshot.id)).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def test_a_snapshot_is_one_commit_with_a_tag_in_a_private_repository(deployment: DatasetDeployment) -> None:
    pushed = deployment.push()

    found, tag = deployment.repository, make_tag(deployment.snapshot.id)
    assert found.private
    assert len(found.commits) == 2
    assert found.commits[pushed.commit].parent in found.commits
    assert found.tags == {tag: pushed.commit}
    assert found.files(tag).keys() == ALL_FILES
    assert len(found.large_files) == len(DATA_FILES)
    record = json.loads(found.files(tag)["habla_dataset.json"])
    assert (record["snapshot"], record["counts"]) == (deployment.snapshot.id, dict(deployment.snapshot.counts))
    assert {each["path"] for each in record["files"]} == DATA_FILES
    assert record["code"]["version"]
    (push,) = deployment.recorded.pushes
    assert (push.snapshot, push.tag, push.commit) == (deployment.snapshot.id, tag, pushed.commit)


def test_a_repetition_changes_nothing(deployment: DatasetDeployment) -> None:
    first = deployment.push()
    commits, recorded = dict(deployment.repository.commits), deployment.recorded

    second = deployment.push()

    assert (first.is_new, second) == (True, replace(first, is_new=False))
    assert (deployment.repository.commits, deployment.recorded) == (commits, recorded)
    assert deployment.hub.calls("POST", "/commit/") == 1


@pytest.mark.long
def test_the_next_snapshot_replaces_the_data_and_keeps_the_earlier_tag_and_the_files_of_others(
    deployment: DatasetDeployment,
) -> None:
    first, found = deployment.push(), deployment.repository
    files = {**found.files("main"), "LICENSE": b"ours", "data/old-00009.parquet": b"from an earlier layout"}
    found.add("main", files, "a person adds files")
    deployment.record(range(5, 8))

    second = deployment.push()

    assert found.tags == {first.tag: first.commit, second.tag: second.commit}
    assert found.files(second.tag).keys() == ALL_FILES | {"LICENSE"}
    assert found.files(first.tag).keys() == ALL_FILES
    assert [each.tag for each in deployment.recorded.pushes] == [first.tag, second.tag]


def test_plain_datasets_loads_it_offline_and_the_card_decodes_the_audio(
    deployment: DatasetDeployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    deployment.push()
    folder = check_out(deployment, tmp_path / "download")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets_cache")
    snippet = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.DOTALL)
    assert snippet is not None
    tag = make_tag(deployment.snapshot.id)
    assert f'load_dataset("REPOSITORY", revision="{tag}")' in snippet[1]
    names: dict[str, object] = {}
    exec(snippet[1].replace(f'"REPOSITORY", revision="{tag}"', repr(str(folder))), names)  # noqa: S102 (our own card)

    opened = names["dataset"]
    assert isinstance(opened, datasets.DatasetDict)
    assert set(opened) == set(OPEN_SPLITS)
    for split in OPEN_SPLITS:
        for row, each in zip(opened[split], read_utterances(deployment.lake, deployment.snapshot, split), strict=True):
            import soundfile

            samples, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="float32")
            assert np.array_equal(samples, each.audio)
            assert (row["sentence"], rate, row["duration_s"]) == (each.sentence, 16_000, each.duration_s)
    first = next(read_utterances(deployment.lake, deployment.snapshot, "train"))
    assert np.array_equal(np.asarray(names["samples"]), first.audio)


def test_an_empty_split_is_left_out_and_the_rest_loads(hub: StubHub, tmp_path: Path) -> None:
    import datasets

    alone = DatasetDeployment(tmp_path / "small", hub, sessions=1)
    alone.push()
    folder = check_out(alone, tmp_path / "download")
    opened = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {name: len(part) for name, part in opened.items()} == {"train": 2}


def test_no_name_and_nothing_made_of_a_name_leaves(deployment: DatasetDeployment) -> None:
    deployment.push()
    sessions = [name_session(number) for number in range(5)]
    ids = [segment_id("habla", each, f"segment_{number:03d}.wav") for each in sessions for number in (1, 2)]
    sent = b"\n".join(deployment.list_stored_bytes())
    for word in (TEACHER, "Paquita", "Speaker A", "segment_", "teacher", str(deployment.lake.url), *sessions, *ids):
        assert word.encode() not in sent, word
    rows = [
        row
        for path in DATA_FILES
        for row in pq.ParquetFile(io.BytesIO(deployment.repository.files("main")[path])).read().to_pylist()
    ]
    assert {row["speaker"][:8] for row in rows} == {"speaker-"}
    # The enrolled teacher is one speaker in three sessions, and the label is another person in each other session.
    assert len({row["speaker"] for row in rows}) == 3
    assert len({row["session"] for row in rows}) == 5


def test_the_card_states_what_a_reader_must_know(deployment: DatasetDeployment) -> None:
    deployment.push()
    card = deployment.repository.files("main")["README.md"].decode()
    for text in (
        "viewer: false",
        "license: other\n",
        "license_name: not-to-be-passed-on\n",
        f"| train | {deployment.snapshot.hours['train']:.2f} | {deployment.snapshot.counts['train']} |",
        f"Conventions of the text: {deployment.snapshot.conventions}",
        deployment.snapshot.id,
        "A consent can be withdrawn",
        "| `audio_sha256` |",
    ):
        assert text in card, text


def test_a_public_repository_gets_nothing(deployment: DatasetDeployment) -> None:
    deployment.hub.repositories[f"datasets/{DATASET_NAME}"] = found = StubRepository(private=False)
    with pytest.raises(ReleaseError, match="is public, and voices go to a private repository only"):
        deployment.push()
    assert (len(found.commits), found.large_files, deployment.recorded.pushes) == (1, {}, ())


def test_a_token_that_may_not_create_repositories_is_enough_for_one_that_exists(deployment: DatasetDeployment) -> None:
    deployment.hub.repositories[f"datasets/{DATASET_NAME}"] = StubRepository(True)

    def refuse(_: str, path: str) -> None:
        if path == "/api/repos/create":
            raise HubRefusalError(403, "You don't have the rights to create a dataset")

    deployment.hub.on_request = refuse
    assert deployment.push().is_new


@pytest.mark.parametrize("moment", ["/preupload/", "/commit/"])
def test_a_repository_that_is_made_public_during_the_push_gets_no_tag(
    deployment: DatasetDeployment, moment: str
) -> None:
    def publish(method: str, path: str) -> None:
        if moment in path:
            deployment.repository.private = False

    deployment.hub.on_request = publish
    with pytest.raises(ReleaseError, match="make the repository private or delete it at once"):
        deployment.push()
    assert deployment.repository.tags == {}


@pytest.mark.parametrize("kind", ["pulls", "converts"])
def test_a_repository_with_references_that_no_program_can_clean_is_refused(
    deployment: DatasetDeployment, kind: str
) -> None:
    deployment.hub.repositories[f"datasets/{DATASET_NAME}"] = found = StubRepository(private=True)
    getattr(found, kind)["1"] = found.branches["main"]
    with pytest.raises(ReleaseError, match="no program can remove a voice"):
        deployment.push()
    assert found.large_files == {}


@pytest.mark.long
def test_a_repository_with_snapshots_of_another_lake_is_refused(deployment: DatasetDeployment, tmp_path: Path) -> None:
    deployment.push()
    other = DatasetDeployment(tmp_path / "other", deployment.hub, sessions=4)
    with pytest.raises(ReleaseError, match="which this lake did not push"):
        other.push()


def test_a_branch_that_moves_during_the_upload_is_refused(deployment: DatasetDeployment) -> None:
    def interfere(method: str, path: str) -> None:
        if "/preupload/" in path:
            deployment.hub.on_request = lambda method, path: None
            deployment.repository.add("main", {"notes.txt": b"from another"}, "another commit")

    deployment.hub.on_request = interfere
    with pytest.raises(PointerMovedError, match=r"branch main .* moved"):
        deployment.push()
    assert deployment.repository.tags == {}
    assert deployment.push().is_new
    assert "notes.txt" in deployment.repository.files("main")


def test_a_tag_never_moves(deployment: DatasetDeployment) -> None:
    pushed, found = deployment.push(), deployment.repository
    other = found.add("main", {"notes.txt": b"other"}, "another commit")
    found.tags[pushed.tag] = other
    with pytest.raises(ReleaseError, match="a tag is not moved"):
        deployment.push()
    assert found.tags == {pushed.tag: other}


@pytest.mark.slow
def test_a_run_killed_before_any_request_is_finished_by_the_next_one(deployment: DatasetDeployment) -> None:
    import httpx2
    from huggingface_hub import close_session, set_client_factory

    step, killed_after_upload, plain = 1, 0, deployment.settings.corpus

    def work(before_step: Callable[[], None]) -> None:
        hooks = {"request": [lambda request: before_step()]}
        set_client_factory(lambda: httpx2.Client(event_hooks=hooks, follow_redirects=True))
        deployment.push()

    close_session()
    while True:
        name = f"our-school/step-{step}"
        chosen = plain.hub_dataset.model_copy(update={"repository": name})
        corpus = plain.model_copy(update={"hub_dataset": chosen})
        deployment.settings = deployment.settings.model_copy(update={"corpus": corpus})
        if not run_until_killed(work, step):
            break
        before = deployment.hub.repositories.get(f"datasets/{name}", StubRepository(private=True))
        killed_after_upload += len(before.large_files) > 0 and not before.tags
        pushed = deployment.push()
        found = deployment.hub.repositories[f"datasets/{name}"]
        assert found.private
        assert found.tags == {pushed.tag: pushed.commit} == {pushed.tag: found.branches["main"]}
        assert len(found.commits) == 2
        step += 2  # every step takes twice the time, and passed too
    assert step > 12
    assert killed_after_upload >= 2


def test_files_that_the_hub_has_are_not_sent_again(deployment: DatasetDeployment) -> None:
    def refuse(method: str, path: str) -> None:
        if "/commit/" in path:
            raise HubRefusalError(403, "Forbidden: this token cannot write")

    deployment.hub.on_request = refuse
    with pytest.raises(ServiceError):
        deployment.push()
    (begun,) = deployment.recorded.pushes
    assert begun.commit is None
    assert deployment.hub.calls("PUT", "/lfs/") == len(DATA_FILES)
    deployment.hub.on_request = lambda method, path: None
    assert deployment.push().is_new
    assert deployment.hub.calls("PUT", "/lfs/") == len(DATA_FILES)


def test_a_voice_without_consent_is_refused(deployment: DatasetDeployment) -> None:
    deployment.write_register(withdrawn="2026-05-01")
    with pytest.raises(CorpusError, match="2 segments without a valid consent"):
        deployment.push()
    # The entry names the label of the recordings; the snapshot has the enrolled name instead.
    deployment.write_register(
        withdrawn="2026-05-01", sessions=[], speakers=[{"label": "speaker a", "sessions": [name_session(1)]}]
    )
    with pytest.raises(CorpusError, match="2 segments without a valid consent"):
        deployment.push()
    assert deployment.hub.repositories == {}


def test_without_any_register_nothing_is_pushed(deployment: DatasetDeployment) -> None:
    consent = deployment.settings.consent.model_copy(update={"registry": None})
    deployment.settings = deployment.settings.model_copy(update={"consent": consent})
    with pytest.raises(CorpusError, match="no register of consents"):
        deployment.push()


def test_a_snapshot_with_an_erased_voice_is_refused(deployment: DatasetDeployment) -> None:
    before = deployment.snapshot
    body = deployment.lake.get_bytes(before.id)
    table = deployment.lake.get_bytes(before.segments)
    deployment.erase()
    assert deployment.lake.put_bytes(table) == before.segments  # a backup is restored
    assert deployment.lake.put_bytes(body) == before.id
    deployment.write_register(sessions=[])
    deployment.snapshot = replace(before, recordings={})
    with pytest.raises(CorpusError, match="2 segments of a voice that is erased"):
        deployment.push()
    assert deployment.hub.repositories == {}


def test_nothing_is_pushed_while_a_voice_waits_for_its_erasure(deployment: DatasetDeployment) -> None:
    deployment.push()
    marked = tuple(replace(each, is_withdrawn=True) for each in deployment.recorded.pushes)
    update_hub_dataset(deployment.lake, deployment.recorded, lambda each: replace(each, pushes=marked))
    deployment.record(range(5, 6))
    with pytest.raises(CorpusError, match="must be erased"):
        deployment.push()


def test_two_pushes_at_once_are_refused(deployment: DatasetDeployment) -> None:
    with (
        lock_hub_datasets(deployment.settings.work_folder),
        pytest.raises(CorpusError, match="another process pushes a dataset"),
    ):
        deployment.push()


def test_it_is_off_by_default_and_needs_a_token(deployment: DatasetDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = deployment.workspace.settings
    assert plain.corpus.hub_dataset.repository is None
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(SettingsError, match=r"HF_TOKEN is not set.*corpus\.hub_dataset\.repository"):
        deployment.push()
    deployment.settings = plain
    with pytest.raises(CorpusError, match=r"corpus\.hub_dataset\.repository is not set"):
        deployment.push()


def test_no_message_and_no_file_has_the_token(
    deployment: DatasetDeployment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    deployment.push()
    monkeypatch.setenv("HF_TOKEN", secret := f"{HUB_TOKEN}Wrong")
    deployment.record(range(5, 6))
    with pytest.raises(ServiceError, match="HTTP 401") as refused:
        deployment.push()
    shown = "".join(traceback.format_exception(refused.value)) + caplog.text + "\n".join(deployment.lines)
    assert "***" in str(refused.value)
    assert secret not in shown
    assert HUB_TOKEN not in shown
    files = [each.read_bytes() for each in deployment.workspace.root.rglob("*") if each.is_file()]
    assert not any(HUB_TOKEN.encode() in data for data in [*files, *deployment.list_stored_bytes()])


@pytest.mark.parametrize("part", ["/repos/create", "/refs", "/lfs/", "/commit/", "/tag/"])
def test_a_refused_request_is_named_and_the_next_run_finishes(deployment: DatasetDeployment, part: str) -> None:
    def refuse(method: str, path: str) -> None:
        if part in path:
            raise HubRefusalError(403, "Forbidden: this token cannot write")

    deployment.hub.on_request = refuse
    with pytest.raises(HablaError, match=r"HTTP 403|403"):
        deployment.push()
    deployment.hub.on_request = lambda method, path: None
    pushed = deployment.push()
    assert deployment.repository.tags == {pushed.tag: pushed.commit}
