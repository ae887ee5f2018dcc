"""The asset `hub_model`: off without a repository, and released versions only."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from habla_ml.definitions import build_definitions
from habla_ml.defs.partitions import MODEL_VERSIONS
from habla_ml_tests.testing.hub_releases import HubReleases, hub, hub_releases, set_hub
from habla_ml_tests.testing.hub_server import HUB_TOKEN
from habla_ml_tests.testing.released_models import make_review_settings

__all__ = ["hub", "hub_releases"]


@dataclass
class HubDeployment:
    """A deployment with a repository on the hub."""

    releases: HubReleases
    definitions: dg.Definitions
    instance: dg.DagsterInstance

    def materialize(self, version: str, *, fails: bool = False) -> dict[str, object]:
        """Materialise the asset for a version; return its metadata."""
        self.instance.add_dynamic_partitions(MODEL_VERSIONS, [version])
        assets = [each for each in self.definitions.assets or () if isinstance(each, dg.AssetsDefinition)]
        result = dg.materialize(
            assets,
            selection=dg.AssetSelection.assets("hub_model"),
            instance=self.instance,
            resources=self.definitions.resources,
            partition_key=version,
            raise_on_error=False,
        )
        assert result.success is not fails
        if fails:
            return {}
        event = result.asset_materializations_for_node("hub_model")[0]
        return {name: value.value for name, value in event.metadata.items()}


@pytest.fixture
def deployment(hub_releases: HubReleases, tmp_path: Path) -> HubDeployment:
    settings = set_hub(make_review_settings(tmp_path), hub_releases.hub)
    (tmp_path / "dagster").mkdir()
    instance = dg.DagsterInstance.local_temp(str(tmp_path / "dagster"))
    return HubDeployment(hub_releases, build_definitions(settings), instance)


def test_without_a_repository_there_is_no_asset(tmp_path: Path) -> None:
    definitions = build_definitions(make_review_settings(tmp_path))
    keys = {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    assert "cdn_release" in keys
    assert "hub_model" not in keys


def test_with_a_repository_each_training_publishes_to_it(deployment: HubDeployment) -> None:
    job = deployment.definitions.resolve_job_def("train_and_release")
    assert "hub_model" in {each.name for each in job.nodes}


@pytest.mark.long
def test_a_released_version_goes_to_the_hub_and_another_one_does_not(deployment: HubDeployment) -> None:
    deployment.releases.release("v1")

    published = deployment.materialize("v1")
    again = deployment.materialize("v1")
    other = deployment.materialize("v2")

    assert published["tag"] == "v1"
    assert published["commit"] == again["commit"] == deployment.releases.repository.tags["v1"][:16]
    assert (published["tag is new"], again["tag is new"]) == (True, False)
    assert (other["published"], "tag" in other) == (False, False)
    assert deployment.releases.repository.tags.keys() == {"v1"}


@pytest.mark.long
def test_neither_a_success_nor_a_failure_stores_the_token(
    deployment: HubDeployment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    deployment.releases.release("v1")
    deployment.materialize("v1")
    monkeypatch.setenv("HF_TOKEN", f"{HUB_TOKEN}Wrong")
    deployment.materialize("v1", fails=True)

    stored = [path for path in (tmp_path / "dagster").rglob("*") if path.is_file()]
    text = "".join(str(row) for path in stored if path.suffix == ".db" for row in read_rows(path))
    assert "HTTP 401" in text
    assert "HF_TOKEN" in text
    printed = "".join(capfd.readouterr())
    assert HUB_TOKEN not in text + printed
    assert not any(HUB_TOKEN.encode() in path.read_bytes() for path in stored)


def read_rows(path: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return [row for (table,) in tables for row in database.execute(f'SELECT * FROM "{table}"')]  # noqa: S608
