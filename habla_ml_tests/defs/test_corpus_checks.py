import dagster as dg
import pytest

from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.snapshot import load_latest_snapshot
from habla_ml.definitions import build_definitions
from habla_ml.defs.runs import run_job
from habla_ml.lake import catalogue
from habla_ml_tests.defs.conftest import MONDAY, TUESDAY, DagsterDeployment
from habla_ml_tests.testing.annotated_days import RecordedSegmentSpec, write_recorded_day

SMALL_DAY = "2026-03-04"
SNAPSHOT_CHECKS = {"texts_are_spanish", "texts_are_as_long_as_their_audio", "hours_did_not_fall", "no_day_vanished"}


def evaluations(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    return {(each.asset_key.to_user_string(), each.check_name): each for each in result.get_asset_check_evaluations()}


def with_quality(deployment: DagsterDeployment, **bounds: object) -> DagsterDeployment:
    quality = deployment.settings.quality.model_copy(update=bounds)
    settings = deployment.settings.model_copy(update={"quality": quality})
    return DagsterDeployment(deployment.folder, settings, build_definitions(settings), deployment.instance)


def materialize_with_checks(
    deployment: DagsterDeployment, *assets: str, partition: str | None = None
) -> dg.ExecuteInProcessResult:
    """Materialise assets with their checks, as the button in the UI does."""
    return dg.materialize(
        [*(deployment.definitions.assets or ()), *(deployment.definitions.asset_checks or ())],
        selection=dg.AssetSelection.assets(*assets),
        instance=deployment.instance,
        partition_key=partition,
        resources=dict(deployment.definitions.resources or {}),
        raise_on_error=False,
    )


@pytest.fixture
def deployment_with_small_day(ingested: DagsterDeployment) -> DagsterDeployment:
    """Return a deployment with a third day that no split depends on."""
    digest = load_conventions(ingested.settings.corpus.conventions).digest
    lesson = [RecordedSegmentSpec(n, seconds=30.0, session="late") for n in range(1, 6)]
    write_recorded_day(ingested.lake(), SMALL_DAY, lesson, digest=digest)
    return ingested


def drop_day_text(deployment: DagsterDeployment, day: str) -> None:
    """Remove the day's text, as a restore from an old backup does."""
    lake = deployment.lake()
    pointer = lake.read_pointer(f"corpus/{day}")
    assert pointer is not None
    counts = {**pointer.value["counts"], "usable": 0}
    lake.move_pointer(f"corpus/{day}", {**pointer.value, "counts": counts, "hours": 0.0}, pointer)


def test_the_checks_of_a_day_have_value_bound_and_examples(deployment):
    found = evaluations(deployment.run("ingest_day", MONDAY))
    assert {name for asset, name in found if asset == "annotated_corpus"} >= {
        "texts_have_words",
        "speaking_rate_is_plausible",
        "texts_are_as_long_as_their_audio",
        "texts_are_spanish",
    }
    assert {name for asset, name in found if asset == "raw_recordings"} >= {
        "few_segments_clipped",
        "few_segments_silent",
    }
    assert all(each.passed for each in found.values())
    metadata = found["annotated_corpus", "texts_have_words"].metadata
    assert {"value", "bound", "unit", "failing", "checked", "examples"} <= metadata.keys()


def test_a_failed_check_names_the_segments(ingested):
    strict = with_quality(ingested, silent_below_dbfs=-5.0, fewest_segments=3)
    found = evaluations(run_job(strict.definitions, strict.instance, "ingest_day", MONDAY))
    silent = found["raw_recordings", "few_segments_silent"]
    assert not silent.passed
    assert silent.severity == dg.AssetCheckSeverity.WARN
    assert silent.metadata["failing"].value == silent.metadata["checked"].value
    assert "dBFS" in str(silent.metadata["examples"].value)


@pytest.mark.long
def test_a_good_snapshot_becomes_the_baseline_and_a_lost_day_blocks_the_training(deployment_with_small_day):
    first = materialize_with_checks(deployment_with_small_day, "splits")
    passed = {name for (_, name), each in evaluations(first).items() if each.passed}
    assert passed >= SNAPSHOT_CHECKS
    good = deployment_with_small_day.lake().read_pointer(catalogue.LAST_GOOD_CORPUS)
    drop_day_text(deployment_with_small_day, SMALL_DAY)
    for _ in range(2):  # A second run does not pass either.
        second = materialize_with_checks(deployment_with_small_day, "splits")
        assert not second.success
        found = evaluations(second)["splits", "no_day_vanished"]
        assert not found.passed
        assert found.severity == dg.AssetCheckSeverity.ERROR
        assert SMALL_DAY in str(found.metadata["examples"].value)
        assert not evaluations(second)["splits", "hours_did_not_fall"].passed
    assert deployment_with_small_day.lake().read_pointer(catalogue.LAST_GOOD_CORPUS) == good


@pytest.mark.long
def test_a_loss_is_accepted_by_the_id_of_its_snapshot_and_becomes_the_baseline(deployment_with_small_day):
    assert materialize_with_checks(deployment_with_small_day, "splits").success
    drop_day_text(deployment_with_small_day, SMALL_DAY)
    assert not materialize_with_checks(deployment_with_small_day, "splits").success
    snapshot = load_latest_snapshot(deployment_with_small_day.lake()).id
    assert materialize_with_checks(
        with_quality(deployment_with_small_day, accepted_snapshot=snapshot), "splits"
    ).success
    assert materialize_with_checks(deployment_with_small_day, "splits").success


@pytest.mark.long
def test_training_does_not_start_on_a_snapshot_that_lost_a_day(deployment_with_small_day):
    assert materialize_with_checks(deployment_with_small_day, "splits").success
    drop_day_text(deployment_with_small_day, SMALL_DAY)
    deployment_with_small_day.instance.add_dynamic_partitions("model_version", ["v1"])
    result = materialize_with_checks(deployment_with_small_day, "splits", "fine_tuned_checkpoint", partition="v1")
    assert not result.success
    started = {event.step_key for event in result.all_events if event.event_type_value == "STEP_START"}
    assert "splits" in started
    assert "fine_tuned_checkpoint" not in started


@pytest.mark.long
def test_the_report_file_has_audio_and_the_stored_object_has_none(ingested):
    assert materialize_with_checks(ingested, "splits").success
    assert ingested.materialize("corpus_report").success
    found = ingested.metadata("corpus_report")
    page = (ingested.settings.work_folder / "reports" / "corpus" / "report.html").read_text("utf-8")
    assert str(found["report"]) == str(ingested.settings.work_folder / "reports" / "corpus" / "report.html")
    assert found["hours until the next version"] == 0
    newest = ingested.instance.fetch_materializations(dg.AssetKey("corpus_report"), limit=1).records[0]
    tags = newest.asset_materialization.tags
    kept = ingested.lake().get_bytes(tags["dagster/data_version"]).decode()
    assert "data:audio" not in kept
    assert "<h2>Hours by day</h2>" in page
    assert "<h2>Hours by day</h2>" in kept
    recorded = sum(ingested.metadata("raw_recordings", day)["hours"] for day in (MONDAY, TUESDAY))
    assert found["recorded hours"] == pytest.approx(recorded, abs=2e-4)
    assert MONDAY in found["hours by day"]


@pytest.mark.long
def test_the_report_of_the_same_corpus_is_the_same_object(ingested):
    assert ingested.materialize("corpus_report").success
    first = ingested.metadata("corpus_report")["object"]
    assert ingested.materialize("corpus_report").success
    assert ingested.metadata("corpus_report")["object"] == first
    write_recorded_day(ingested.lake(), "2026-03-04", [RecordedSegmentSpec(1)])
    assert ingested.materialize("corpus_report").success
    assert ingested.metadata("corpus_report")["object"] != first
