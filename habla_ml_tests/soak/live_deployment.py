"""A deployment with a real daemon, whose processes can be killed all at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import dagster as dg
import yaml

from habla_ml.demo.classroom import write_castilian_set
from habla_ml.lake import Lake
from habla_ml.lake.factory import open_lake
from habla_ml.settings import Settings, StoreSettings, load_settings
from habla_ml_tests.soak.remote_servers import RemoteServers

ROOT = Path(__file__).resolve().parents[2]
FIRST_DAY = "2026-03-02"
_MARK = "TRIAL_OF_HABLA"

RECIPE = {
    "name": "short",
    "base_model": "package:demo/base_model",
    "learning_rate": 1e-4,
    "max_steps": 4,
    "batch_s": 16.0,
    "evaluate_every_steps": 2,
    "validation_clips": 2,
    "log_every_steps": 1,
}


class LiveDeployment:
    """Folders, settings and processes of a deployment.

    Args:
        folder: Folder of everything, created when missing.
        growth_hours: Growth of the corpus that starts a training.
        data: Folder of lake and work folder; by default in `folder`.
        environment: More variables of the processes.
        dagster: Sections of `dagster.yaml` to change, by name; for short trials.
        servers: Where the lake and Dagster's storage are; by default in folders.
    """

    def __init__(
        self,
        folder: Path,
        growth_hours: float,
        data: Path | None = None,
        environment: Mapping[str, str] | None = None,
        dagster: Mapping[str, Mapping[str, object]] | None = None,
        servers: RemoteServers | None = None,
    ) -> None:
        self._servers = servers
        self.folder, self.home, self.data = folder, folder / "home", data or folder / "data"
        self.recordings, self.log = folder / "recordings", folder / "daemon.log"
        self._environment, self._mark = dict(environment or {}), uuid.uuid4().hex
        for each in (self.recordings, self.data, self.home, folder / "configs"):
            each.mkdir(parents=True, exist_ok=True)
        write_castilian_set(folder / "out_of_domain", 4, seed=5)
        (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
        profile = folder / "configs" / "trial.yaml"
        profile.write_text(yaml.safe_dump(self._build_profile(growth_hours)))
        self.settings: Settings = load_settings(profile, {})
        config = yaml.safe_load((ROOT / "dagster_home" / "dagster.yaml").read_text())
        for section, changes in (dagster or {}).items():
            config[section] |= changes
        # One process creates the storage: two at once can give Dagster's SQLite storage two heads.
        self.instance = self._open_instance(config)

    def _open_instance(self, config: dict[str, object]) -> dg.DagsterInstance:
        """Write `dagster.yaml` for the processes, and return the instance of the trial."""
        if self._servers is None:
            (self.home / "dagster.yaml").write_text(yaml.safe_dump(config))
            return dg.DagsterInstance.from_config(str(self.home))
        direct = self.folder / "home of the trial"
        direct.mkdir()
        for home, is_direct in ((self.home, False), (direct, True)):
            storage = self._servers.build_storage(direct=is_direct)
            (home / "dagster.yaml").write_text(yaml.safe_dump({**config, "storage": storage}))
        return dg.DagsterInstance.from_config(str(direct))

    def _build_profile(self, growth_hours: float) -> dict[str, object]:
        return {
            "work_folder": str(self.data / "work"),
            "lake": {"url": str(self.data / "lake")} if self._servers is None else self._servers.build_lake(),
            "recordings": {"folder": str(self.recordings), "first_day": FIRST_DAY},
            "corpus": {"conventions": str(ROOT / "configs" / "conventions" / "orthographic-v1.yaml")},
            "training": {"recipe": str(self.folder / "recipe.yaml")},
            "evaluation": {
                "out_of_domain": str(self.folder / "out_of_domain" / "fine_tune_dataset.csv"),
                "bootstrap_draws": 200,
                "profile_clips": 4,
                "format_clips": 2,
                "speed_clips": 2,
                "speed_rounds": 2,
            },
            "release": {"store": {"url": str(self.data / "cdn")}},
            "automation": {
                "growth_hours": growth_hours,
                "sensor_interval_s": 2,
                "retry_after_s": 5,
                "longest_retry_s": 60,
            },
        }

    def open_lake(self) -> Lake:
        """Open the lake, not through the network with faults."""
        if self._servers is None:
            return open_lake(self.settings.lake, self.settings.work_folder / "cache")
        direct = StoreSettings.model_validate(self._servers.build_lake(direct=True))
        return open_lake(direct, self.folder / "cache of the trial")

    def start(self) -> None:
        """Start the daemon as `make dev` does; it starts a code server and the runs."""
        environment = {
            **os.environ,
            "DAGSTER_HOME": str(self.home),
            "HABLA_CONFIGS": str(self.folder / "configs"),
            "HABLA_PROFILE": "trial",
            "OMP_NUM_THREADS": "1",
            _MARK: self._mark,
            **self._environment,
        }
        command = [sys.executable, "-m", "habla_ml.defs.future_ticks"]
        while subprocess.run(command, env=environment, check=self._servers is None).returncode:
            time.sleep(1.0)  # as the operator's service does
        with self.log.open("ab") as log:
            subprocess.Popen(
                [Path(sys.executable).with_name("dagster-daemon"), "run", "-w", ROOT / "workspace.yaml"],
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def processes(self, *words: str) -> list[int]:
        """Return the ids of the deployment's processes, or of those with one of `words` in the command line."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"{_MARK}={self._mark}".encode() not in (folder / "environ").read_bytes():
                    continue
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # It ended, or is not ours.
            if command and (not words or any(word in command for word in words)):
                found.append(int(folder.name))
        return found

    def kill(self, *words: str) -> int:
        """SIGKILL all processes, or those with one of `words` in the command line; return how many."""
        killed: set[int] = set()
        while left := self.processes(*words):
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            killed.update(left)
            _reap_children()
            time.sleep(0.05)
        _reap_children()
        return len(killed)

    def kill_at_random(self, rng: random.Random) -> tuple[str, int]:
        """Kill everything in six of ten cases, else only some processes; return what was killed and how many processes."""
        target, words = rng.choices(
            [
                ("everything", ()),
                ("run processes", ("habla_ml.defs.run_worker",)),
                ("daemon and code server", ("dagster-daemon", "dagster api grpc")),
                ("code server", ("dagster api grpc",)),
                ("children of runs", ("habla_ml.training", "habla_ml.transcription")),
            ],
            [6, 1, 1, 1, 1],
        )[0]
        return target, self.kill(*words)

    def is_running(self) -> bool:
        """Return whether the daemon runs."""
        return bool(self.processes("dagster-daemon"))

    def close(self) -> None:
        """Kill everything and close the storage."""
        self.kill()
        self.instance.dispose()


def wait_until(condition: Callable[[], bool], timeout_s: float, poll_s: float = 1.0) -> bool:
    """Wait until `condition` holds; return whether it did before the timeout."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_s)
    return True


def _reap_children() -> None:
    """Remove ended children of this process from the process table."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
