"""A training continues from a version on a hub, also where the lake was lost."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from habla_ml.cli.doctor import run_checks
from habla_ml.cli.main import app
from habla_ml.corpus.snapshot import Snapshot
from habla_ml.defs.models.training_metadata import build_training_metadata
from habla_ml.defs.result_metadata import shorten_ids
from habla_ml.erasure.contributor_data import ContributorData, find_affected_versions
from habla_ml.erasure.table_index import load_index
from habla_ml.errors import ServiceError, SettingsError, TrainingError
from habla_ml.hub.repository import open_repository
from habla_ml.lake import DirectoryStore, Lake, catalogue
from habla_ml.settings import Settings, TrainingSettings
from habla_ml.training.plan import VersionPlan, plan_version
from habla_ml.training.recipe import HubStart, Recipe, load_recipe
from habla_ml.training.record import StartRecord, TrainingRecord
from habla_ml.training.start import choose_start, import_start, read_start
from habla_ml.training.train import train_version
from habla_ml_tests.testing.hub_releases import HUB_NAME, hub, set_hub
from habla_ml_tests.testing.hub_server import StubHub
from habla_ml_tests.testing.released_models import make_review_settings
from habla_ml_tests.testing.trained_versions import make_training_record
from habla_ml_tests.testing.training_snapshot import make_clips, publish_snapshot

__all__ = ["hub"]

RECORD = b'{"model_version": "v1", "training": {"snapshot": "abc"}}'


@pytest.fixture
def settings(tmp_path: Path, hub: StubHub) -> Settings:
    return set_hub(make_review_settings(tmp_path), hub, "newest")


def publish(settings: Settings, version: str, folder: Path) -> HubStart:
    """Put a folder and a record on the hub under a version's tag."""
    repository = open_repository(settings.release.hub, HUB_NAME)
    repository.require_private()
    files = {path.name: path for path in folder.iterdir()} | {
        "habla_release.json": RECORD,
        "README.md": b"---\nlicense: mit\n---\n",
    }
    commit = repository.commit("main", files, [], repository.read_refs().branches["main"], version)
    repository.create_tag(version, commit)
    return HubStart(repository=HUB_NAME, revision=commit)


def change(recipe: Recipe, **changes: object) -> Recipe:
    return Recipe.model_validate(recipe.model_dump() | changes)


@pytest.mark.slow
def test_a_training_continues_from_the_hub_in_a_new_lake(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, settings: Settings, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    quick = change(recipe, max_steps=2, evaluate_every_steps=2)
    first = train_version(lake, snapshot, quick, "v1", tmp_path / "first", lambda _: None)
    weights = load_file(lake.checkout_tree(first.tree, tmp_path / "v1") / "model.safetensors")
    start = publish(settings, "v1", tmp_path / "v1")
    lost = Lake(DirectoryStore(tmp_path / "new_lake"), tmp_path / "new_cache")
    same_snapshot = publish_snapshot(lost, make_clips())
    continued = change(quick, start=start.model_dump(), learning_rate=1e-9)

    imported = import_start(lost, continued, settings)
    second = train_version(lost, same_snapshot, continued, "v2", tmp_path / "second", lambda _: None)

    assert imported == second.start
    assert imported is not None
    assert (imported.tree, imported.model_version, imported.snapshot) == (first.tree, "v1", "abc")
    assert second.base_model == first.base_model
    assert second.identity_digest != first.identity_digest
    found = load_file(lost.checkout_tree(second.tree, tmp_path / "v2") / "model.safetensors")
    assert all((found[name] - weights[name]).abs().max() < 1e-6 for name in weights)
    metadata = build_training_metadata(VersionPlan("v2", "0" * 64, "0" * 64, 1.0), second, {})
    assert metadata["continued from"].value == shorten_ids(f"{HUB_NAME} @ {start.revision}")


def test_an_import_asks_the_hub_once(
    lake: Lake, recipe: Recipe, tiny_base: Path, settings: Settings, hub: StubHub
) -> None:
    continued = change(recipe, start=publish(settings, "v1", tiny_base).model_dump())
    first = import_start(lake, continued, settings)
    asked = len(hub.requests)
    assert import_start(lake, continued, settings) == first
    assert len(hub.requests) == asked
    assert first is not None
    names = [each.path for each in lake.list_tree_files(first.tree)]
    assert names == sorted(path.name for path in tiny_base.iterdir())
    assert import_start(lake, recipe, settings) is None


def test_an_incomplete_or_foreign_model_is_refused(
    lake: Lake, recipe: Recipe, tiny_base: Path, settings: Settings, snapshot: Snapshot, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    config = (tiny_base / "config.json").read_text().replace('"d_model": 32', '"d_model": 64')
    for path in tiny_base.iterdir():
        (tmp_path / "other" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "other" / "config.json").write_text(config)
    other = change(recipe, start=publish(settings, "v1", tmp_path / "other").model_dump())
    import_start(lake, other, settings)
    with pytest.raises(TrainingError, match=r"d_model 64, but base_model .* has 32"):
        train_version(lake, snapshot, other, "v2", tmp_path / "work", lambda _: None)

    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / "config.json").write_text("{}")
    repository = open_repository(settings.release.hub, "our-school/partial")
    repository.require_private()
    head = repository.read_refs().branches["main"]
    commit = repository.commit("main", {"config.json": b"{}"}, [], head, "partial")
    partial = change(recipe, start={"repository": "our-school/partial", "revision": commit})
    with pytest.raises(TrainingError, match=r"no model to continue from: generation_config.json is missing"):
        import_start(lake, partial, settings)
    assert len(list(lake.list_pointers("hub_starts/"))) == 1


def test_a_damaged_download_is_refused(
    lake: Lake, recipe: Recipe, tiny_base: Path, settings: Settings, hub: StubHub
) -> None:
    continued = change(recipe, start=publish(settings, "v1", tiny_base).model_dump())
    stored = hub.repositories[HUB_NAME].commits[str(continued.start and continued.start.revision)]
    listed = dict(stored.files)

    def damage(method: str, path: str) -> None:
        is_file = "/resolve/" in path
        dict.update(stored.files, listed | ({"config.json": b"[" * len(listed["config.json"])} if is_file else {}))  # type: ignore[arg-type]

    hub.on_request = damage
    with pytest.raises(ServiceError, match=r"config\.json of .* is missing or damaged"):
        import_start(lake, continued, settings)
    assert list(lake.list_pointers("hub_starts/")) == []


def test_a_training_without_its_import_is_refused(lake: Lake) -> None:
    with pytest.raises(TrainingError, match="is not in"):
        read_start(lake, HubStart(repository=HUB_NAME, revision="a" * 40))


def test_the_newest_version_is_pinned_in_the_recipe_of_a_new_version(
    lake: Lake, snapshot: Snapshot, settings: Settings, tiny_base: Path, hub: StubHub, tmp_path: Path
) -> None:
    def plan(version: str, wanted: Settings = settings) -> Recipe:
        pinned = plan_version(lake, version, snapshot, wanted.training, lambda: choose_start(wanted))
        path = tmp_path / f"{version}.yaml"
        path.write_bytes(lake.get_bytes(pinned.recipe))
        return load_recipe(path)

    open_repository(settings.release.hub, HUB_NAME).require_private()
    assert plan("v1").start is None, "there is no version yet"
    found = publish(settings, "v9", tiny_base)
    (tiny_base / "notes.txt").write_text("newer")
    try:
        newest = publish(settings, "v10", tiny_base)
    finally:
        (tiny_base / "notes.txt").unlink()
    hub.repositories[HUB_NAME].tags["v10-ctranslate2"] = found.revision
    assert plan("v1").start is None, "a plan is pinned"
    assert plan("v11").start == newest
    assert plan("v12", set_hub(settings, hub, "v9")).start == found
    with pytest.raises(TrainingError, match=r"continue_from is v3, but .* has v9, v10"):
        choose_start(set_hub(settings, hub, "v3"))
    assert choose_start(set_hub(settings, hub)) is None


def test_settings_and_recipe_that_contradict_each_other_are_refused(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, settings: Settings, tmp_path: Path
) -> None:
    start = HubStart(repository=HUB_NAME, revision="a" * 40)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(change(recipe, start=start.model_dump()).model_dump(mode="json", exclude_none=True)))
    with pytest.raises(SettingsError, match="has a section start itself"):
        plan_version(lake, "v1", snapshot, TrainingSettings(recipe=path), lambda: start)
    assert list(lake.list_pointers("models/")) == []
    with pytest.raises(ValueError, match="both replace the base model"):
        change(recipe, start=start.model_dump(), first_stage={"max_steps": 2})
    with pytest.raises(ValueError, match=r"release\.hub\.repository is not set"):
        Settings.model_validate({**settings.model_dump(), "release": {"store": {"url": "cdn"}}})


def test_a_recipe_without_a_start_keeps_its_identity(recipe: Recipe) -> None:
    continued = change(recipe, start={"repository": HUB_NAME, "revision": "a" * 40})
    assert continued.digest == recipe.digest
    assert make_training_record("v1").identity.digest == make_training_record("v1", start="").identity.digest
    assert make_training_record("v1").identity.digest != make_training_record("v1", start="a").identity.digest


def test_a_withdrawn_voice_is_in_the_versions_that_continue_from_its_own(lake: Lake, snapshot: Snapshot) -> None:
    def store(record: TrainingRecord, snapshot_id: str) -> None:
        plan = VersionPlan(record.version, snapshot_id, "0" * 64, 1.0)
        lake.move_pointer(catalogue.PLAN.name(record.version), asdict(plan), None)
        value = {"tree": record.tree, "record": lake.put_json(record.model_dump(mode="json"))}
        lake.move_pointer(catalogue.CHECKPOINT.name(record.version), value, None)

    records = {version: make_training_record(version) for version in ("v1", "v2", "v3", "v4")}
    for version, earlier in (("v2", "v1"), ("v3", "v2")):
        start = StartRecord(repository=HUB_NAME, revision="a" * 40, tree=records[earlier].tree)
        records[version] = records[version].model_copy(update={"start": start})
    for version, record in records.items():
        store(record, snapshot.id if version == "v1" else "f" * 64)
    segment = next(each.segment_id for each in make_clips() if each.split == "train")

    data = ContributorData({segment: 1.0}, frozenset(), {}, (), frozenset())
    assert find_affected_versions(lake, data, load_index(lake)).trained == ("v1", "v2", "v3")


def test_the_command_lists_versions_with_their_commits(
    settings: Settings, tiny_base: Path, tmp_path: Path, hub: StubHub
) -> None:
    found = publish(settings, "v1", tiny_base)
    path = tmp_path / "configs" / "test.yaml"
    tree = yaml.safe_load(path.read_text())
    off = CliRunner().invoke(app, ["hub", "-p", str(path)])
    tree["release"]["hub"] = {"repository": HUB_NAME, "endpoint": hub.url}
    path.write_text(yaml.safe_dump(tree))
    on = CliRunner().invoke(app, ["hub", "-p", str(path)])
    assert (off.exit_code, on.exit_code) == (1, 0)
    assert "release.hub.repository is not set" in str(off.exception)
    assert f"v1  {found.revision}" in on.output


def test_doctor_says_where_the_token_of_the_hub_is_missing(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "configs" / "test.yaml"
    tree = yaml.safe_load(path.read_text())
    tree["release"]["hub"] = {"repository": HUB_NAME}
    path.write_text(yaml.safe_dump(tree))
    with_token = [each for each in run_checks(str(path)) if each.subject == "Hub"]
    monkeypatch.delenv("HF_TOKEN")
    without = [each for each in run_checks(str(path)) if each.subject == "Hub"]
    assert [each.health for each in (*with_token, *without)] == ["ok", "wrong"]
    assert "HF_TOKEN, which is not set here" in without[0].found
