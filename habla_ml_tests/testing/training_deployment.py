"""A deployment whose training process can be started, killed and resumed."""

import io
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from shutil import copyfile

import yaml

from habla_ml.corpus.snapshot import Snapshot
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.training.process import main
from habla_ml.training.recipe import Recipe
from habla_ml.training.record import TrainingRecord, read_training_record
from habla_ml_tests.testing.training_snapshot import make_clips, publish_snapshot

ROOT = Path(__file__).resolve().parents[2]


class TrainingDeployment:
    """Settings file, recipe and lake with a snapshot, for a training process."""

    def __init__(self, folder: Path, recipe: Recipe, **changes: object) -> None:
        (folder / "configs").mkdir(parents=True)
        (folder / "recordings").mkdir()
        copyfile(ROOT / "configs" / "conventions" / "orthographic-v4.yaml", folder / "configs" / "conventions.yaml")
        self.folder = folder
        self.recipe = folder / "configs" / "recipe.yaml"
        self.recipe.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True) | changes))
        self.work = "work"
        self.settings = folder / "configs" / "here.yaml"
        self.write_settings()
        self.lake = self.open_lake()
        self.snapshot: Snapshot = publish_snapshot(self.lake, make_clips())

    def open_lake(self) -> Lake:
        return Lake(DirectoryStore(self.folder / "lake"), self.folder / "cache")

    def write_settings(self, **changes: object) -> None:
        sections = {
            "work_folder": self.work,
            "lake": {"url": "lake"},
            "recordings": {"folder": "recordings"},
            "corpus": {"conventions": "configs/conventions.yaml"},
            "training": {"recipe": "configs/recipe.yaml"},
            "release": {"store": {"url": "cdn"}},
        }
        self.settings.write_text(yaml.safe_dump(sections | changes))

    def command(self, version: str, *more: str) -> list[str]:
        return [
            *(sys.executable, "-m", "habla_ml.training", "--settings", str(self.settings)),
            *("--snapshot", self.snapshot.id, "--recipe", str(self.recipe), "--version", version),
            *("--out", str(self.folder / self.work / version), *more),
        ]

    def start(self, version: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(version),
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=quiet_environment(),
        )

    def run(self, version: str) -> "subprocess.CompletedProcess[str]":
        """Train in this process, which saves the imports of another one."""
        command, out, err = self.command(version), io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(command[3:])  # without the interpreter and the module
        return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())

    def record(self, version: str) -> TrainingRecord:
        found = read_training_record(self.lake, version)
        assert found is not None
        return found


def quiet_environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def kill_at(process: "subprocess.Popen[str]", prefix: str) -> bool:
    """SIGKILL the process at a line with this prefix; return False if it ended before."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(prefix):
            process.kill()
            break
    process.stdout.close()
    return process.wait() == -signal.SIGKILL
