"""Imports and decoding on a real Ray cluster give what they give here, also when a process of the cluster is killed."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import EvaluationError, ServiceError, SettingsError, classify_fault
from habla_ml.evaluation.comparison.decoding import EvaluatedModel, decode_sets
from habla_ml.evaluation.comparison.profile_scores import measure_profiles
from habla_ml.evaluation.metrics.inputs import OptionalMeasurements
from habla_ml.lake import Lake
from habla_ml.ray_pool import BatchWorker, RayActors, connect, map_in_tasks, split_by_bytes
from habla_ml.recordings.bulk_import import ImportPlace, ImportResult, import_with_progress
from habla_ml.review.candidates import gather_pool
from habla_ml.review.model_hypotheses import ReleasedModel, decode_candidates
from habla_ml.settings import Settings
from habla_ml.settings.models import RaySettings
from habla_ml.transcription.hypothesis_cache import read_hypotheses, transcribe_cached
from habla_ml.transcription.on_ray import RayTranscriber
from habla_ml.transcription.open import open_bulk_transcriber
from habla_ml.transcription.options import DecodingOptions
from habla_ml_tests.evaluation.conftest import artefact, clips, lake
from habla_ml_tests.testing.habla_sessions import HablaWorkspace, make_workspace, set_age, write_session
from habla_ml_tests.testing.imported_days import list_object_names, make_silent_console, read_day_pointers
from habla_ml_tests.testing.ray_cluster import RayCluster, find_free_ports
from habla_ml_tests.testing.recorded_days import DAY, SimulatedSegment, publish_recordings
from habla_ml_tests.testing.simulated_hypotheses import make_utterance

__all__ = ["artefact", "clips", "lake"]

DIGEST = "a" * 64
OPTIONS = DecodingOptions(max_new_tokens=6)
DAYS = ("20260301", "20260302")


@pytest.fixture
def cluster(ray_cluster: RayCluster) -> Iterator[RayCluster]:
    """The running cluster; this process leaves it at the end."""
    import ray

    ray_cluster.start_missing_nodes()
    yield ray_cluster
    ray.shutdown()


def make_ray_settings(cluster: RayCluster) -> dict[str, object]:
    return {"address": cluster.address, "client_address": cluster.client_address, "lost_after_s": 60}


def make_import(root: Path, cluster: RayCluster | None = None) -> HablaWorkspace:
    training = {} if cluster is None else {"training": {"launch": {"ray": make_ray_settings(cluster)}}}
    return make_workspace(root, **training)


def run_import(recordings: Path, workspace: HablaWorkspace, on: ImportPlace) -> ImportResult:
    processes = 1 if on == "here" else 2
    return import_with_progress(recordings, workspace.settings, processes, make_silent_console(), on)


@contextmanager
def kill_one_process(cluster: RayCluster, *words: str) -> Iterator[list[int]]:
    """Kill the first process of the cluster with these words in its title, and add its id to the list."""
    killed: list[int] = []
    is_over = threading.Event()

    def watch() -> None:
        while not killed and not is_over.is_set():
            for process in cluster.find_processes(*words):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
                    killed.append(process.pid)
                    break
            time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        is_over.set()
        thread.join()


@pytest.mark.slow
def test_an_import_on_ray_equals_one_here_with_a_bad_file_and_a_killed_worker(
    cluster: RayCluster, tmp_path: Path
) -> None:
    here, there = make_import(tmp_path / "here"), make_import(tmp_path / "there", cluster)
    recordings = here.recordings
    for day in DAYS:
        for hour in (9, 10):
            set_age(write_session(recordings, f"{hour}_{day}_{hour:02d}0000", 20, seconds=8.0), 48)
    bad = recordings / f"9_{DAYS[0]}_090000" / "segment_002.wav"
    bad.write_bytes(bad.read_bytes()[:1000])
    set_age(bad.parent, 48)
    run_import(recordings, here, "here")
    with kill_one_process(cluster, "ray::encode_segments") as killed:
        done = run_import(recordings, there, "ray")
    assert len(killed) == 1
    assert (len(done.imported), done.failed) == (2, ())
    [skipped] = done.imported[0].skipped_inputs
    assert (skipped.file, "cut off" in skipped.reason) == ("segment_002.wav", True)
    assert read_day_pointers(there) == read_day_pointers(here)
    assert list_object_names(there) == list_object_names(here)


def make_decoding_settings(root: Path, cluster: RayCluster, engines: int = 1) -> Settings:
    launch = {"where": "ray", "engines": engines}
    sections = {"training": {"launch": {"ray": make_ray_settings(cluster)}}, "evaluation": {"launch": launch}}
    return make_workspace(root, **sections).settings


@pytest.mark.slow
def test_decoding_on_ray_gives_the_texts_of_one_machine_also_after_a_killed_engine(
    cluster: RayCluster, tmp_path: Path, artefact: Path, clips: list[Utterance], lake: Lake
) -> None:
    too_long = np.zeros(31 * 16_000, np.float32)
    clips = [*clips[:4], make_utterance("long", "s", "x", duration_s=31.0, audio_sha256="f" * 64, audio=too_long)] * 2
    settings = make_decoding_settings(tmp_path / "two", cluster, engines=2)
    with closing(open_bulk_transcriber(OPTIONS, artefact, make_workspace(tmp_path / "here").settings)) as transcriber:
        expected = transcribe_cached(lake, DIGEST, transcriber, clips)
    with closing(open_bulk_transcriber(OPTIONS, artefact, settings)) as transcriber:
        assert isinstance(transcriber, RayTranscriber)
        transcriber.batch_clips = 1
        with kill_one_process(cluster, "ray::_BatchActor.call") as killed:
            found = transcribe_cached(lake, "b" * 64, transcriber, clips)
        assert len(killed) == 1
        assert found == expected
        assert transcriber.usage.audio_s == pytest.approx(sum(each.duration_s for each in clips[:4]))
    assert read_hypotheses(lake, "b" * 64, OPTIONS) == read_hypotheses(lake, DIGEST, OPTIONS)
    broken = tmp_path / "broken"
    broken.mkdir()
    with (
        closing(
            open_bulk_transcriber(OPTIONS, broken, make_decoding_settings(tmp_path / "one", cluster))
        ) as transcriber,
        pytest.raises(EvaluationError, match=r"lacks model\.bin"),
    ):
        transcriber.transcribe(clips[:1])


@pytest.mark.slow
def test_a_request_that_no_machine_can_fulfil_is_an_error(
    cluster: RayCluster, tmp_path: Path, artefact: Path, clips: list[Utterance]
) -> None:
    settings = make_decoding_settings(tmp_path, cluster)
    launch = settings.evaluation.launch.model_copy(update={"resources_per_engine": {"CPU": 1.0, "GPU": 1.0}})
    patient = settings.training.launch.ray.model_copy(update={"lost_after_s": 1.0})
    with (
        closing(RayTranscriber(artefact, OPTIONS, "auto", 0, launch, patient)) as transcriber,
        pytest.raises(ServiceError, match=r"no process with .*GPU.* started .* within 1 s"),
    ):
        transcriber.transcribe(clips[:1])


def end_process(_: list[int]) -> None:
    os._exit(1)


@pytest.mark.slow
def test_batches_are_read_two_ahead_and_one_that_always_ends_its_process_is_an_error(cluster: RayCluster) -> None:
    settings = RaySettings.model_validate({**make_ray_settings(cluster), "max_failures": 0})
    connect(settings)
    read: list[int] = []
    batches = ([0] * size for size in range(6) if not read.append(size))
    results = map_in_tasks("count", len, batches, 1, settings)
    assert (next(results), read) == (0, [0, 1])
    assert list(results) == [1, 2, 3, 4, 5]
    with pytest.raises(ServiceError, match=r"lost the work \(WorkerCrashedError: .*Run again"):
        next(map_in_tasks("end", end_process, [[1]], 1, settings))


@pytest.fixture
def absent_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HablaWorkspace:
    """A deployment whose cluster is not there."""
    monkeypatch.setattr("ray.util.client.worker.INITIAL_TIMEOUT_SEC", 0.1)
    monkeypatch.setattr("ray.util.client.worker.MAX_TIMEOUT_SEC", 0.1)
    ray = {"client_address": f"ray://127.0.0.1:{find_free_ports(1)[0]}"}
    sections = {"training": {"launch": {"ray": ray}}, "evaluation": {"launch": {"where": "ray"}}}
    return make_workspace(tmp_path / "deployment", **sections)


NOT_THERE = r"the Ray cluster ray://127\.0\.0\.1:\d+ cannot be reached .*correct training\.launch\.ray\.client_address"


class ResponseError(Exception):
    """An error that cannot be built again from its message, as those of several clients of services."""

    def __init__(self, message: str, *, response: object) -> None:
        super().__init__(message)
        self.response = response


def refuse_batch(_: list[int]) -> None:
    raise ResponseError("no such page", response=object())


def build_without_engine() -> BatchWorker:
    raise EvaluationError("this machine has no engine; install it")


def test_errors_of_the_work_are_no_losses_of_the_cluster(cluster: RayCluster) -> None:
    settings = RaySettings.model_validate(make_ray_settings(cluster))
    connect(settings)
    with pytest.raises(RuntimeError, match="ResponseError: no such page") as found:
        list(map_in_tasks("refused", refuse_batch, [[1]], 1, settings))
    assert classify_fault(found.value) == "program"
    actors = RayActors(build_without_engine, 1, {"CPU": 1}, settings)
    with closing(actors), pytest.raises(EvaluationError, match="this machine has no engine"):
        list(actors.map([[1]]))


def test_an_import_names_a_cluster_that_is_not_there_before_it_reads(absent_cluster: HablaWorkspace) -> None:
    set_age(write_session(absent_cluster.recordings, f"9_{DAYS[0]}_090000", 1), 48)
    with pytest.raises(ServiceError, match=NOT_THERE):
        run_import(absent_cluster.recordings, absent_cluster, "ray")
    assert list_object_names(absent_cluster) == set()


@pytest.mark.slow
def test_evaluations_and_review_pools_are_decoded_on_the_cluster_of_the_settings(
    absent_cluster: HablaWorkspace, tmp_path: Path, artefact: Path, clips: list[Utterance]
) -> None:
    settings, lake = absent_cluster.settings, absent_cluster.lake
    model = EvaluatedModel("v1", "candidate", DIGEST, artefact)
    with pytest.raises(ServiceError, match=NOT_THERE):
        decode_sets(lake, model, lambda: clips, OptionalMeasurements(), settings, print)
    with pytest.raises(ServiceError, match=NOT_THERE):
        measure_profiles(lake, model, lambda: clips, settings, print)
    publish_recordings(lake, DAY, [SimulatedSegment("one", 1)], tmp_path)
    pool = gather_pool(lake, settings, "2026-W07").members
    released = ReleasedModel("v1", lake.put_tree(artefact))
    with pytest.raises(ServiceError, match=NOT_THERE):
        decode_candidates(lake, pool, released, settings, print)


def test_missing_ray_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r"pip install 'habla-ml\[ray\]'"):
        connect(RaySettings())


def test_clients_use_the_head_of_the_jobs_unless_the_settings_name_another_address() -> None:
    assert RaySettings(address="http://head.example:8265").bulk_address == "ray://head.example:10001"
    assert RaySettings(address="https://[fd00::1]:8265/").bulk_address == "ray://[fd00::1]:10001"
    assert RaySettings(client_address="auto").bulk_address == "auto"


def test_batches_are_bounded_in_bytes_and_keep_a_larger_item() -> None:
    assert list(split_by_bytes([3, 3, 5, 9, 1], lambda size: size, 6)) == [[3, 3], [5], [9], [1]]
    assert list(split_by_bytes([], len)) == []
