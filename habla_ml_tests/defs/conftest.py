"""Fixtures: a small classroom, its deployment and a Dagster instance."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from shutil import copytree

import dagster as dg
import pytest
import yaml

from habla_ml.definitions import build_definitions
from habla_ml.defs.runs import run_job, tick
from habla_ml.demo.classroom import ClassroomPlan, write_castilian_set, write_sessions
from habla_ml.lake import Lake
from habla_ml.lake.factory import open_lake
from habla_ml.settings import Settings, load_settings
from habla_ml_tests.testing.habla_sessions import make_workspace
from habla_ml_tests.testing.readable_metadata import require_readable_metadata

ROOT = Path(__file__).resolve().parents[2]
FIRST_DAY = date(2026, 3, 2)
MONDAY, TUESDAY = "2026-03-02", "2026-03-03"


@dataclass(frozen=True)
class SensorTick:
    """What the daemon gets from one evaluation of a sensor."""

    partitions: list[str]
    skip_reason: str
    report: str
    """The cursor."""


@dataclass
class DagsterDeployment:
    """Settings, definitions and instance of a deployment."""

    folder: Path
    settings: Settings
    definitions: dg.Definitions
    instance: dg.DagsterInstance

    @property
    def recordings(self) -> Path:
        return self.settings.recordings.folder

    def lake(self) -> Lake:
        return open_lake(self.settings.lake, self.settings.work_folder / "cache")

    def run(self, job: str, partition: str, **tags: str) -> dg.ExecuteInProcessResult:
        return run_job(self.definitions, self.instance, job, partition, tags)

    def materialize(self, asset: str, partition: str | None = None) -> dg.ExecuteInProcessResult:
        """Materialise one asset, as the button in the UI does."""
        return dg.materialize(
            [each for each in self.definitions.assets or () if isinstance(each, dg.AssetsDefinition)],
            selection=dg.AssetSelection.assets(asset),
            instance=self.instance,
            partition_key=partition,
            resources=dict(self.definitions.resources or {}),
            raise_on_error=False,
        )

    def tick(self, sensor: str) -> dg.SensorResult:
        return tick(self.definitions, self.instance, sensor)

    def evaluate(self, sensor: str, cursor: str | None = None) -> SensorTick:
        """Evaluate a sensor with Dagster's own checks of its run requests, as the daemon does."""
        repository = self.definitions.get_repository_def()
        definition, known = self.definitions.resolve_sensor_def(sensor), repository.get_top_level_resources()
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=cursor,
            sensor_name=sensor,
            repository_def=repository,
            resources={name: known[name] for name in definition.required_resource_keys},
        ) as context:
            found = definition.evaluate_tick(context)
        days = [str(each.partition_key) for each in found.run_requests or ()]
        return SensorTick(days, found.skip_message or "", found.cursor or "")

    def read_storage(self) -> str:
        """Return everything that Dagster keeps of the runs: their events and tags."""
        runs = self.instance.get_runs()
        events = [event for run in runs for event in self.instance.all_logs(run.run_id)]
        return "".join(map(str, events)) + str(runs) + str([each.tags for each in runs])

    def metadata(self, asset: str, partition: str | None = None) -> dict:
        """Return the metadata of the newest materialisation."""
        filters = dg.AssetRecordsFilter(
            asset_key=dg.AssetKey(asset), asset_partitions=[partition] if partition else None
        )
        records = self.instance.fetch_materializations(filters, limit=1).records
        materialised = records[0].asset_materialization
        assert materialised is not None
        require_readable_metadata(materialised.metadata)
        return {name: value.value for name, value in materialised.metadata.items()}


def find_failure(result: dg.ExecuteInProcessResult) -> str:
    """Return the error of the first failed step."""
    events = [event for event in result.all_events if event.event_type == dg.DagsterEventType.STEP_FAILURE]
    return str(events[0].step_failure_data.error.cause or events[0].step_failure_data.error)


@pytest.fixture(scope="session")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return two days of lessons, with eight sessions of six segments and all kinds of faulty sessions."""
    folder = tmp_path_factory.mktemp("classroom")
    plan = ClassroomPlan(
        first_day=FIRST_DAY, days=2, sessions_per_day=4, segments_per_session=6, seed=3, has_faulty_sessions=True
    )
    write_sessions(folder / "recordings", plan, seed=5)
    write_castilian_set(folder / "out_of_domain", 4, seed=5)
    return folder


@pytest.fixture
def growth_hours() -> float:
    """Return a bound that the two days exceed; tests override it."""
    return 0.005


@pytest.fixture
def retry_settings() -> dict:
    """Return the settings of the wait after a failed run; tests override it."""
    return {}


@pytest.fixture
def tree(growth_hours: float, retry_settings: dict) -> dict:
    """Return the profile of the deployment; tests change it before they use `deployment`."""
    return build_tree({"growth_hours": growth_hours, **retry_settings})


def build_tree(automation: dict) -> dict:
    """Return a profile that decodes the test set and nothing else; `FULL_EVALUATION` adds the other measurements."""
    return {
        "work_folder": "work",
        "lake": {"url": "lake"},
        "recordings": {"folder": "recordings", "first_day": MONDAY},
        "corpus": {"conventions": str(ROOT / "configs" / "conventions" / "orthographic-v1.yaml")},
        "training": {"recipe": "recipe.yaml"},
        "evaluation": {
            "out_of_domain": "out_of_domain/fine_tune_dataset.csv",
            "bootstrap_draws": 200,
            "profile_clips": 0,
            "format_clips": 0,
            "parity_clips": 0,
            "speed_clips": 0,
        },
        "release": {"store": {"url": "cdn"}},
        "automation": automation,
    }


FULL_EVALUATION = {"profile_clips": 4, "format_clips": 2, "parity_clips": 60, "speed_clips": 2, "speed_rounds": 2}
"""Settings that measure everything on few clips."""


@pytest.fixture
def learning_rate() -> float:
    """Return the learning rate of the recipe; 1e-30 changes no weight."""
    return 1e-4


@pytest.fixture
def recipe(learning_rate: float) -> dict:
    """Return a recipe of four steps."""
    return {**RECIPE, "learning_rate": learning_rate}


RECIPE = {
    "name": "short",
    "base_model": "package:demo/base_model",
    "learning_rate": 1e-4,
    "max_steps": 4,
    "batch_s": 24.0,
    "evaluate_every_steps": 4,
    "validation_clips": 2,
    "log_every_steps": 1,
}


@pytest.fixture
def deployment(tmp_path: Path, two_days: Path, tree: dict, recipe: dict) -> Iterator[DagsterDeployment]:
    copytree(two_days, tmp_path, dirs_exist_ok=True)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "configs").mkdir()
    profile = tmp_path / "configs" / "test.yaml"
    profile.write_text(yaml.safe_dump(tree))
    settings = load_settings(profile, {})
    with dg.DagsterInstance.ephemeral() as instance:
        yield DagsterDeployment(tmp_path, settings, build_definitions(settings), instance)


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[DagsterDeployment]:
    """Return a deployment without recordings."""
    settings = make_workspace(tmp_path).settings
    with dg.DagsterInstance.ephemeral() as instance:
        yield DagsterDeployment(tmp_path, settings, build_definitions(settings), instance)


@pytest.fixture
def ingested(deployment: DagsterDeployment) -> DagsterDeployment:
    """Return a deployment with both days in the lake."""
    for day in (MONDAY, TUESDAY):
        assert deployment.run("ingest_day", day).success
    return deployment
