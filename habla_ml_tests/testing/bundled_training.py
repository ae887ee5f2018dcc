"""A deployment with consents whose version is bundled, trained in a folder of its own, and imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import yaml

from habla_ml.consent.admission import Consents, load_consents
from habla_ml.lake import catalogue
from habla_ml.settings import Settings, load_settings
from habla_ml.training.bundle.create import create_bundle
from habla_ml.training.bundle.manifest import BundleManifest
from habla_ml.training.bundle.result import import_bundle
from habla_ml.training.recipe import Recipe
from habla_ml.training.record import TrainingRecord
from habla_ml_tests.testing.training_deployment import TrainingDeployment

SPEAKER = "SPEAKER_00"
"""Of every segment of the deployment."""


class BundledDeployment:
    """A training deployment with a register of consents; `training` has more keys of that section of the settings."""

    def __init__(self, folder: Path, recipe: Recipe, training: Mapping[str, object] = MappingProxyType({})) -> None:
        self.deployment = TrainingDeployment(folder / "here", recipe)
        self.folder = folder
        self.registry = folder / "here" / "configs" / "consents.yaml"
        self.write_consents()
        value = yaml.safe_load(self.deployment.settings.read_text())
        value["consent"] = {"registry": str(self.registry)}
        value["training"] |= training
        self.deployment.settings.write_text(yaml.safe_dump(value))
        self.settings: Settings = load_settings(self.deployment.settings)
        self.lake = self.deployment.lake
        self.lake.move_pointer(catalogue.SPLITS, {"snapshot": self.deployment.snapshot.id}, None)

    def write_consents(self, **more: str) -> None:
        """Write a register in which everybody consents, with these keys on the entry of the speaker."""
        entry = {"contributor": "c-001", "speakers": [{"label": SPEAKER}], "given": "2026-01-01", **more}
        self.registry.write_text(yaml.safe_dump({"contributors": [entry]}))

    def consents(self) -> Consents:
        return load_consents(self.settings, datetime(2026, 3, 1, tzinfo=UTC))

    def bundle(self, name: str = "bundle", version: str = "v1") -> tuple[Path, BundleManifest]:
        target = self.folder / name
        return target, create_bundle(self.lake, self.settings, version, target, self.consents(), lambda _: None)

    def bring_back(self, folder: Path) -> TrainingRecord:
        return import_bundle(self.lake, self.settings, folder, self.consents(), lambda _: None)


def start_bundle(folder: Path) -> subprocess.Popen[str]:
    """Start the bundle's own command with a bare environment; this Python stands for the installed one."""
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder / "home"),
        "BUNDLE_PYTHON": sys.executable,
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    return subprocess.Popen(
        ["sh", str(folder / "train.sh")],
        cwd=folder.parent,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def run_bundle(folder: Path) -> str:
    """Train a bundle to the end; return what it printed."""
    process = start_bundle(folder)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def copy_result(folder: Path, target: Path) -> Path:
    """Copy what goes back from the other machine."""
    target.mkdir()
    shutil.copyfile(folder / "bundle.json", target / "bundle.json")
    shutil.copytree(folder / "result", target / "result")
    return target
