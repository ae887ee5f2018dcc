"""The models of an evaluation: the base of the version's recipe, the newest older release, the candidate; and specs."""

from pathlib import Path

import pytest
import yaml

from habla_ml.errors import ReleaseError
from habla_ml.evaluation.comparison.model_spec import parse_model_spec
from habla_ml.evaluation.comparison.models_under_test import prepare_evaluated_models, prepare_model
from habla_ml.export.ctranslate2 import CTRANSLATE2
from habla_ml.export.exporter import ExportOptions
from habla_ml.export.publish import SourceCheckpoint, publish_export
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.release.channel import read_channel
from habla_ml.release.moves import rollback
from habla_ml.release.publish import publish_release
from habla_ml.settings import Settings, load_settings
from habla_ml_tests.testing.base_model import BASE_MODEL
from habla_ml_tests.testing.release_drafts import make_draft, make_release_files

RECIPE = {"name": "x", "base_model": "package:demo/base_model", "learning_rate": 1e-3, "max_steps": 1}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")


@pytest.fixture
def cdn(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "cdn")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "recordings").mkdir()
    (tmp_path / "conventions.yaml").write_text("")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    tree = {
        "work_folder": str(tmp_path / "work"),
        "lake": {"url": str(tmp_path / "lake")},
        "recordings": {"folder": str(tmp_path / "recordings")},
        "corpus": {"conventions": str(tmp_path / "conventions.yaml")},
        "training": {"recipe": str(recipe)},
        "release": {"store": {"url": str(tmp_path / "cdn")}},
    }
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "here.yaml").write_text(yaml.safe_dump(tree))
    return load_settings(tmp_path / "configs" / "here.yaml", {})


def make_version(lake: Lake, version: str, settings: Settings) -> None:
    """A planned version, converted; the weights do not matter here, so they are the base's."""
    recipe = lake.put_file(settings.training.recipe)
    plan = {"version": version, "snapshot": "0" * 64, "recipe": recipe, "corpus_hours": 1.0}
    lake.move_pointer(f"models/{version}/plan", plan, None)
    owner = f"models/{version}/ctranslate2"
    tree = lake.put_tree(BASE_MODEL)
    source = SourceCheckpoint(tree, lambda: BASE_MODEL)
    publish_export(lake, owner, CTRANSLATE2, source, ExportOptions("int8"), settings.work_folder, print)


def release(cdn: DirectoryStore, tmp_path: Path, version: str) -> None:
    files = make_release_files(tmp_path / f"files-{version}", version)
    publish_release(cdn, None, "stable", make_draft(version), files, work_folder=tmp_path / "work")


def find_release(cdn: DirectoryStore, version: str) -> str | None:
    return read_channel(cdn, "stable").find_release_to_beat(version)


def test_a_version_without_an_artefact_is_refused(lake, cdn, settings):
    with pytest.raises(ReleaseError, match="v4 has no CTranslate2 model; materialise `ctranslate2_model`"):
        prepare_evaluated_models(lake, find_release(cdn, "v4"), "v4", settings, print)


@pytest.mark.long
def test_the_first_version_is_compared_with_the_base_only(lake, cdn, settings):
    make_version(lake, "v1", settings)
    found = prepare_evaluated_models(lake, find_release(cdn, "v1"), "v1", settings, lambda _: None)
    assert [(each.name, each.role) for each in found] == [("base", "base"), ("v1", "candidate")]
    assert all((each.folder / "model.bin").is_file() for each in found)


def list_previous_releases(lake: Lake, cdn: DirectoryStore, version: str, settings: Settings) -> list[str]:
    found = prepare_evaluated_models(lake, find_release(cdn, version), version, settings, lambda _: None)
    return [each.name for each in found][1:-1]


@pytest.mark.long
def test_a_version_is_compared_with_what_is_current_on_the_channel(lake, cdn, settings, tmp_path):
    for version in ("v1", "v2", "v3", "v3-s2", "v4"):
        make_version(lake, version, settings)
    for version in ("v1", "v3"):
        release(cdn, tmp_path, version)
    assert list_previous_releases(lake, cdn, "v4", settings) == ["v3"]
    assert list_previous_releases(lake, cdn, "v2", settings) == ["v3"]
    # The present release and its replicates are compared with what it replaced.
    assert list_previous_releases(lake, cdn, "v3", settings) == ["v1"]
    assert list_previous_releases(lake, cdn, "v3-s2", settings) == ["v1"]


@pytest.mark.long
def test_after_a_rollback_a_version_is_compared_with_the_release_that_is_current_again(lake, cdn, settings, tmp_path):
    for version in ("v1", "v2", "v3"):
        make_version(lake, version, settings)
    for version in ("v1", "v2"):
        release(cdn, tmp_path, version)
    rollback(cdn, "stable")
    assert list_previous_releases(lake, cdn, "v3", settings) == ["v1"]
    assert list_previous_releases(lake, cdn, "v2", settings) == ["v1"]
    assert list_previous_releases(lake, cdn, "v1", settings) == []


@pytest.mark.long
def test_a_release_without_a_model_in_the_lake_is_an_error(lake, cdn, settings, tmp_path):
    make_version(lake, "v2", settings)
    release(cdn, tmp_path, "v1")
    with pytest.raises(ReleaseError, match=r"v1 is current on the channel and has no CTranslate2 model.*for v1"):
        list_previous_releases(lake, cdn, "v2", settings)


def test_a_service_has_the_folder_of_the_local_model_that_replaces_it_and_one_cache(lake, settings, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"weights")
    alone, replaced = (
        prepare_model(parse_model_spec(text, settings), "compared", lake, settings, print)
        for text in ("deepgram", f"{folder}@deepgram")
    )
    assert (alone.folder, replaced.folder) == (None, folder)
    assert (alone.artefact, alone.decoding) == (replaced.artefact, replaced.decoding)
