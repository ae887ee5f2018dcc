"""A cleanup removes what nothing needs, and nothing else."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from habla_ml.annotation.sources import collect_events
from habla_ml.cleanup.run import CleanupReport, clean_up
from habla_ml.corpus.build import build_day, load_corpus_day
from habla_ml.export.publish import checkout_artefact
from habla_ml.inbox.clip_files import CLIP_PREFIX, get_incoming_folder, make_clip_key
from habla_ml.lake import DirectoryStore, Lake, catalogue
from habla_ml.release.publish import publish_release
from habla_ml.release.published import list_releases
from habla_ml.settings import save_settings
from habla_ml.training.lease import StoredCheckpoint, hold_lease, list_unfinished_trainings
from habla_ml.training.remedies import Remedies
from habla_ml_tests.testing.command_line import run_habla_ml
from habla_ml_tests.testing.corrected_days import MONDAY, A, create_annotated_lake
from habla_ml_tests.testing.full_lake import make_full_lake, read_pointers
from habla_ml_tests.testing.habla_sessions import NOW as RECORDED_AT
from habla_ml_tests.testing.habla_sessions import HablaWorkspace, write_corrections
from habla_ml_tests.testing.received_clips import make_clip_id, make_inbox
from habla_ml_tests.testing.release_drafts import make_draft, make_release_files
from habla_ml_tests.testing.training_identities import make_identity

HOLD_LOCK = """
import sys
from pathlib import Path
from habla_ml.training.train import lock_work_folder

with lock_work_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""

Clean = Callable[..., CleanupReport]


@pytest.fixture
def clean(workspace: HablaWorkspace) -> Clean:
    """A function that runs a cleanup so many days from now."""
    return lambda days=0, delete=True, of=workspace: _clean(of, days, delete)


def _clean(workspace: HablaWorkspace, days: float, delete: bool) -> CleanupReport:
    store = DirectoryStore(workspace.root / "cdn")
    now = datetime.now(UTC) + timedelta(days=days)
    return clean_up(workspace.lake, store, workspace.settings, now, delete=delete)


def _due(report: CleanupReport) -> set[str]:
    return {each.name for group in report.groups for each in group.due}


def _read_reachable(lake: Lake) -> dict[str, bytes]:
    return {each: lake.get_bytes(each) for each in lake.find_reachable(set(lake.list_object_ids()))}


def _supersede_text(workspace: HablaWorkspace) -> str:
    """Build a day's text twice with different corrections; return the object of the first text."""
    texts = []
    for text in ("Buenos días a todos.", "Buenos días a todas."):
        write_corrections(workspace.recordings / A, dict.fromkeys(range(1, 7), text))
        collect_events(workspace.lake, MONDAY, workspace.settings, RECORDED_AT)
        texts.append(build_day(workspace.lake, MONDAY, workspace.conventions, workspace.settings).parquet)
    assert texts[0] != texts[1]
    return texts[0]


def test_a_superseded_object_is_removed_after_the_grace_period(tmp_path: Path) -> None:
    workspace = create_annotated_lake(tmp_path, {1: "Hola."}, "Adiós.")
    old = _supersede_text(workspace)
    reachable = _read_reachable(workspace.lake)
    assert old not in reachable
    assert old not in _due(_clean(workspace, days=0, delete=True))
    assert old not in _due(_clean(workspace, days=6.9, delete=True))
    report = _clean(workspace, days=7.1, delete=True)
    assert old in _due(report)
    assert report.removed == len(_due(report))
    assert old not in set(workspace.lake.list_object_ids())
    assert {each: data for each, data in _read_reachable(workspace.lake).items() if each in reachable} == reachable
    day = load_corpus_day(workspace.lake, MONDAY)
    assert day is not None
    assert build_day(workspace.lake, MONDAY, workspace.conventions, workspace.settings) == day


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    workspace = create_annotated_lake(tmp_path, {1: "Hola."}, "Adiós.")
    old = _supersede_text(workspace)
    before = sorted(workspace.lake.list_object_ids()), read_pointers(workspace.lake)
    for days in (0, 30):
        report = _clean(workspace, days, delete=False)
        assert report.removed == 0
        assert old not in _due(report)  # nothing has marked it yet
    assert (sorted(workspace.lake.list_object_ids()), read_pointers(workspace.lake)) == before
    _clean(workspace, 0, delete=True)
    assert old in _due(_clean(workspace, 30, delete=False))
    assert old in set(workspace.lake.list_object_ids())


def test_an_object_that_is_stored_again_waits_anew(workspace: HablaWorkspace, clean: Clean) -> None:
    published = workspace.lake.put_bytes(b"published twice")
    path = workspace.lake.fetch_path(published)
    os.utime(path, (0, 0))
    clean(days=-10)
    workspace.lake.put_bytes(b"published twice")  # by a process that will name it soon
    assert published not in _due(clean(days=0))
    assert path.exists()
    assert published in _due(clean(days=7.1))


def test_an_object_that_is_stored_again_during_the_cleanup_stays(workspace: HablaWorkspace) -> None:
    lake = workspace.lake
    published = lake.put_bytes(b"published twice")
    os.utime(lake.fetch_path(published), (0, 0))
    lake.put_bytes(b"published twice")
    assert lake.delete_unused_object(published, datetime.now(UTC) - timedelta(hours=1)) is False
    assert lake.get_bytes(published) == b"published twice"


def test_an_object_that_became_reachable_loses_its_mark(workspace: HablaWorkspace, clean: Clean) -> None:
    published = workspace.lake.put_bytes(b"x")
    clean(days=0)
    named = workspace.lake.move_pointer("splits/latest", {"snapshot": published}, None)
    clean(days=5)
    workspace.lake.move_pointer("splits/latest", {"snapshot": ""}, named)
    assert published not in _due(clean(days=8))
    assert published in _due(clean(days=15.1))


def test_the_snapshot_that_the_settings_accept_stays(workspace: HablaWorkspace, clean: Clean) -> None:
    accepted = workspace.lake.put_json({"format": "a snapshot"})
    quality = workspace.settings.quality.model_copy(update={"accepted_snapshot": accepted})
    chosen = replace(workspace, settings=workspace.settings.model_copy(update={"quality": quality}))
    clean(of=chosen)
    assert accepted not in _due(clean(days=8, of=chosen))
    clean()
    assert accepted in _due(clean(days=8))


@pytest.mark.slow
def test_a_lake_of_every_stage_keeps_all_that_its_pointers_lead_to(tmp_path: Path) -> None:
    full = make_full_lake(tmp_path)
    reachable = _read_reachable(full.lake)
    for days in (0, 8, 16):
        assert _clean(full.workspace, days, delete=True).problems == ()
    assert {each: data for each, data in _read_reachable(full.lake).items() if each in reachable} == reachable


def test_files_of_a_killed_publish_are_removed_and_releases_stay(workspace: HablaWorkspace, clean: Clean) -> None:
    store = DirectoryStore(workspace.root / "cdn")
    for version in ("v1", "v2"):
        publish_release(store, None, "stable", make_draft(version), make_release_files(workspace.root, version))
    store.put_if_absent("releases/v3/habla-coreml-v3-0123456789ab.zip", b"killed before the channel moved")
    released = {each.key for each in store.list("") if "v3" not in each.key}
    assert clean(days=6).removed == 0
    assert _due(clean(days=8)) == {"releases/v3/habla-coreml-v3-0123456789ab.zip"}
    assert {each.key for each in store.list("")} == released
    assert [each.model_version for each in list_releases(store, "stable")] == ["v2", "v1"]


def test_a_damaged_channel_stops_only_its_own_part(workspace: HablaWorkspace, clean: Clean) -> None:
    superseded = workspace.lake.put_bytes(b"superseded")
    clean()
    store = DirectoryStore(workspace.root / "cdn")
    store.put_if_absent("releases/v3/unnamed.zip", b"x")
    store.put_if_absent("channels/stable/latest.json", b"not JSON")
    report = clean(days=8)
    assert superseded in _due(report)
    assert [each.startswith("release files: channels/stable/latest.json is damaged") for each in report.problems] == [
        True
    ]
    assert store.read("releases/v3/unnamed.zip") == b"x"


def test_local_copies_of_models_stay_while_they_are_used(workspace: HablaWorkspace, clean: Clean) -> None:
    model = workspace.root / "model"
    model.mkdir()
    (model / "weights").write_bytes(b"w" * 1000)
    tree = workspace.lake.put_tree(model)
    work = workspace.settings.work_folder
    folder = checkout_artefact(workspace.lake, tree, work)
    os.utime(folder, (0, 0))
    assert checkout_artefact(workspace.lake, tree, work) == folder  # used now
    workspace.lake.move_pointer("models/v1/ctranslate2", {"tree": tree}, None)
    assert clean().removed == 0
    report = clean(days=8)
    assert _due(report) == {f"artefacts/{tree}"}
    assert report.removed_bytes == 1000
    assert not folder.exists()
    assert (checkout_artefact(workspace.lake, tree, work) / "weights").read_bytes() == b"w" * 1000


def test_unfinished_trainings_leave_the_lake_when_their_version_is_published(
    workspace: HablaWorkspace, clean: Clean
) -> None:
    lake, folder = workspace.lake, workspace.root / "checkpoint"
    folder.mkdir()
    identities = {version: make_identity(device=version) for version in ("v1", "v2")}
    for version, identity in identities.items():
        (folder / "optimizer.pt").write_text(f"moments of {version}")
        with hold_lease(lake, identity, version, None) as lease:
            tree = lake.put_tree(folder)
            lease.store(StoredCheckpoint(step=4, tree=tree, best={}, remedies=Remedies()))
    lake.move_pointer(catalogue.CHECKPOINT.name("v1"), {"tree": lake.put_tree(folder)}, None)
    unfinished = catalogue.UNFINISHED_TRAINING.name(identities["v1"].digest)
    assert unfinished not in _due(clean(days=6.9))
    assert unfinished in _due(clean(days=7.1, delete=False))
    with hold_lease(lake, identities["v1"], "v1", None):
        assert unfinished not in _due(clean(days=7.1)), "a process has resumed it"
    assert unfinished in _due(clean(days=7.1))
    assert [each.version for each in list_unfinished_trainings(lake)] == ["v2"], "it is resumed some day"
    stored = {lake.get_bytes(each) for each in lake.list_object_ids()}
    assert b"moments of v1" not in stored
    assert b"moments of v2" in stored


@pytest.mark.long
def test_only_published_trainings_lose_their_scratch(workspace: HablaWorkspace, clean: Clean) -> None:
    training = workspace.settings.work_folder / "training"
    for version in ("v1", "v2"):
        for name in ("checkpoints", "clips", "tensorboard"):
            (training / version / "0123456789abcdef" / name).mkdir(parents=True)
    tree = workspace.lake.put_bytes(b"the model")
    workspace.lake.move_pointer(catalogue.CHECKPOINT.name("v1"), {"tree": tree}, None)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(training / "v1")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        due = {f"training/v1/0123456789abcdef/{name}" for name in ("checkpoints", "clips")}
        report = clean(days=8)
        assert (_due(report), report.removed) == (due, 0)  # a training of v1 runs
        process.kill()
    assert clean(days=0).removed == 0
    assert clean(days=8).removed == 2
    assert sorted(path.name for path in (training / "v1" / "0123456789abcdef").iterdir()) == ["tensorboard"]
    assert len(list((training / "v2" / "0123456789abcdef").iterdir())) == 3


def test_the_command_shows_first_and_removes_when_asked(workspace: HablaWorkspace) -> None:
    abandoned = workspace.settings.work_folder / "scratch" / "recordings-killed"
    abandoned.mkdir(parents=True)
    (abandoned / "audio.parquet").write_bytes(b"x" * 2_000_000)
    os.utime(abandoned, (0, 0))
    profile = str(save_settings(workspace.settings, workspace.root / "profiles"))
    shown = run_habla_ml("gc", "--profile", profile)
    assert shown.returncode == 0, shown.stderr
    assert "nothing was removed" in shown.stdout
    assert abandoned.exists()
    removed = run_habla_ml("gc", "--delete", "--profile", profile)
    assert "removed 1 of these, 2.0 MB" in removed.stdout
    assert not abandoned.exists()


def test_a_clip_file_that_no_row_names_is_removed_after_the_grace_period_and_others_stay(tmp_path: Path) -> None:
    inbox = make_inbox(tmp_path)
    kept = inbox.read_clip(inbox.receive(1))["file_key"]
    orphan = make_clip_key(make_clip_id(2))
    inbox.store.put_if_absent(orphan, b"the upload was killed before its row was written")
    body = get_incoming_folder(inbox.workspace.settings) / "body-1"
    body.parent.mkdir()
    body.write_bytes(b"a worker was killed while it received this")
    for days, keys in ((6.9, {kept, orphan}), (7.1, {kept})):
        assert _clean(inbox.workspace, days, delete=True).problems == ()
        assert {each.key for each in inbox.store.list(CLIP_PREFIX)} == keys
        assert body.exists() == (orphan in keys)
