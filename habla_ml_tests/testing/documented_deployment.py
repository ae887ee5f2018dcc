"""The deployment that the pages of the documentation speak about: released versions, a contributor, a backup."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import yaml

from habla_ml.lake import DirectoryStore
from habla_ml.project_files import write_project
from habla_ml.release.channel import Delivery
from habla_ml.release.keys import open_signing
from habla_ml.release.moves import promote
from habla_ml.release.publish import publish_release
from habla_ml.settings import Settings
from habla_ml_tests.testing.erasure import withdraw
from habla_ml_tests.testing.full_lake import make_full_lake
from habla_ml_tests.testing.release_drafts import NOON, make_release_files
from habla_ml_tests.testing.released_lake import make_snapshot_draft


def make_documented_deployment(root: Path) -> None:
    """Write a project with `configs/local.yaml`, a lake, recordings, and the releases v1 and v2, below a folder."""
    full_lake = make_full_lake(root)
    write_project(root)
    profile = {
        "work_folder": "work",
        "lake": {"url": "lake"},
        "recordings": {"folder": "habla", "keep_raw_stream": True},
        "consent": {"registry": "consents.yaml"},
        "corpus": {
            "conventions": "configs/conventions/orthographic-v4.yaml",
            "slowest_chars_per_s": 0.0,
            "fastest_chars_per_s": 1000.0,
        },
        "training": {"recipe": "configs/recipes/demo-full.yaml"},
        "release": {"store": {"url": "cdn"}},
    }
    for name in ("local", "demo"):
        (root / "configs" / f"{name}.yaml").write_text(yaml.safe_dump(profile), "utf-8")
    _write_next_conventions(root / "configs" / "conventions")
    withdraw(full_lake)
    _release(root, full_lake.snapshot.id, full_lake.workspace.settings)


def _write_next_conventions(folder: Path) -> None:
    """Write version 5, as a reader of the page about conventions does."""
    text = (folder / "orthographic-v4.yaml").read_text("utf-8")
    (folder / "orthographic-v5.yaml").write_text(text.replace("version: 4", "version: 5"), "utf-8")


def _release(root: Path, snapshot: str, settings: Settings) -> None:
    store = DirectoryStore(root / "cdn")
    signing = open_signing(settings, store, NOON)
    for number, version in enumerate(("v1", "v2")):
        draft, files = make_snapshot_draft(version, snapshot), make_release_files(root / "files", version)
        now = NOON + timedelta(days=number - 1)
        publish_release(store, None, "stable", draft, files, now, signing=signing)
    promote(store, "stable", "beta", Delivery(), signing=signing)
    shutil.rmtree(root / "files")
