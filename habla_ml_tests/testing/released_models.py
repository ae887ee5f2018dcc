"""Settings of a deployment with a release channel, and releases of a model on it."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import yaml

from habla_ml.lake import DirectoryStore, Lake
from habla_ml.release.channel import OfferedArchive, move_channel, read_channel, sign_state
from habla_ml.release.signing import UNSIGNED
from habla_ml.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]


def make_review_settings(folder: Path, **review: object) -> Settings:
    """Return settings of a deployment in `folder` with the given `review` section, and a ranked choice by default."""
    for name in ("configs", "recordings"):
        (folder / name).mkdir(exist_ok=True)
    tree = {
        "work_folder": "work",
        "lake": {"url": "lake"},
        "recordings": {"folder": "recordings"},
        "corpus": {"conventions": str(ROOT / "configs" / "conventions" / "orthographic-v1.yaml")},
        "training": {"recipe": str(ROOT / "configs" / "recipes" / "demo-full.yaml")},
        "evaluation": {"beam_size": 1, "cpu_threads": 1},
        "release": {"store": {"url": "cdn"}},
        "review": {"choice": "ranked", **review},
    }
    path = folder / "configs" / "test.yaml"
    path.write_text(yaml.safe_dump(tree))
    return load_settings(path, {})


def serve_without_speech_detection(settings: Settings) -> Settings:
    """Return settings under which a noise is decoded: Habla's speech detection would leave it out."""
    served = settings.evaluation.model_copy(update={"serving_profile": "faster-whisper default"})
    return settings.model_copy(update={"evaluation": served})


def release(lake: Lake, store: DirectoryStore, version: str, artefact: Path, folder: Path) -> None:
    """Release `version` on the channel, with a model folder of its own."""
    copy = folder / version
    shutil.copytree(artefact, copy)
    (copy / "version.txt").write_text(version)
    lake.move_pointer(f"models/{version}/ctranslate2", {"tree": lake.put_tree(copy)}, None)
    channel = read_channel(store, "stable")
    number = len(channel.states) + 1
    sha256 = f"{number:064x}"
    moment = datetime(2026, 2, number, tzinfo=UTC)
    archive = OfferedArchive(
        label="ctranslate2",
        format="ctranslate2",
        url="model.zip",
        key="model.zip",
        sha256=sha256,
        size_bytes=1,
        minimum_os_version=None,
    )
    content = {
        "channel": "stable",
        "sequence": number,
        "move": "release",
        "moved_at": moment,
        "version": f"2026.2.{number}-{version}",
        "number": number,
        "model_id": "habla-andalusian",
        "model_version": version,
        "released_at": moment,
        "replaces": channel.current.version if channel.current else None,
        "models": {"habla": archive},
        "manifest_url": "manifest.json",
        "manifest_key": "manifest.json",
        "manifest_sha256": sha256,
    }
    state = sign_state(content, UNSIGNED, moment)
    move_channel(store, channel, state)
