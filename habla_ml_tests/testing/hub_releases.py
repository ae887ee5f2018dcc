"""Releases of small models, and a hub to publish them to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import pytest

from habla_ml.hub.repository import HubRepository, open_repository
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.release.hub.publish import HubModel, find_released_manifest, publish_hub_model
from habla_ml.release.manifest import ReleaseManifest
from habla_ml.release.publish import publish_release
from habla_ml.settings import Settings
from habla_ml.settings.hub import HubSettings
from habla_ml_tests.testing.hub_server import HUB_TOKEN, StubHub, serve_hub
from habla_ml_tests.testing.hub_storage import StubRepository
from habla_ml_tests.testing.release_drafts import make_draft, make_release_files
from habla_ml_tests.testing.trained_versions import make_training_record

HUB_NAME: Final = "our-school/habla-andalusian"


def set_hub(settings: Settings, hub: StubHub, continue_from: str | None = None) -> Settings:
    """Return settings with the repository of `hub`."""
    chosen = HubSettings(repository=HUB_NAME, endpoint=hub.url)
    release = settings.release.model_copy(update={"hub": chosen})
    training = settings.training.model_copy(update={"continue_from": continue_from})
    return settings.model_copy(update={"release": release, "training": training})


class HubReleases:
    """A lake with small models, their releases, and a hub."""

    def __init__(self, folder: Path, hub: StubHub) -> None:
        self.folder, self.hub = folder, hub
        self.lake = Lake(DirectoryStore(folder / "lake"), folder / "cache")
        self.store = DirectoryStore(folder / "cdn")
        self.lines: list[str] = []

    def release(self, version: str, more_files: tuple[str, ...] = (), **draft: Any) -> ReleaseManifest:
        """Store a model version and release it; return the manifest."""
        folder = self.folder / "models" / version
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(f'{{"model_type": "whisper", "version": "{version}"}}')
        (folder / "model.safetensors").write_bytes(f"weights of {version}".encode() * 100)
        for name in more_files:
            (folder / name).write_text(name)
        record = make_training_record(version)
        tree = self.lake.put_tree(folder)
        files = make_release_files(self.folder / "files", version)
        plain = make_draft(version)
        stored = self.lake.put_json(record.model_dump(mode="json"))
        training = plain.training.model_copy(update={"checkpoint": tree, "record": stored})
        served = plain.archives[1].model_copy(update={"artefact": self.lake.put_tree(files["ctranslate2"])})
        changes = {"training": training, "archives": (plain.archives[0], served), **draft}
        publish_release(self.store, None, "stable", plain.model_copy(update=changes), files)
        manifest = find_released_manifest(self.store, "stable", version)
        assert manifest is not None
        return manifest

    def open(self, name: str = HUB_NAME) -> HubRepository:
        """Open a repository with the token of the environment."""
        return open_repository(HubSettings(endpoint=self.hub.url), name)

    def publish(
        self,
        manifest: ReleaseManifest,
        ctranslate2: Literal["folder", "branch", "none"] = "folder",
        name: str = HUB_NAME,
    ) -> HubModel:
        """Publish a release to the hub."""
        work = self.folder / "work"
        return publish_hub_model(self.open(name), self.lake, manifest, ctranslate2, work, self.lines.append)

    @property
    def repository(self) -> StubRepository:
        """The repository, as the hub has it."""
        return self.hub.repositories[HUB_NAME]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StubHub]:
    """A hub, whose token is in the environment; files go over plain HTTP."""
    from huggingface_hub import close_session, constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
    monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)
    with serve_hub() as served:
        yield served
    close_session()


@pytest.fixture
def hub_releases(tmp_path: Path, hub: StubHub) -> HubReleases:
    return HubReleases(tmp_path, hub)
