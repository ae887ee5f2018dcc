import dagster as dg
import pytest

from habla_ml.corpus.snapshot import find_sessions_in_two_splits, load_latest_snapshot, read_utterances
from habla_ml.definitions import build_definitions
from habla_ml.defs.backfill import apply_conventions, find_stale_days
from habla_ml.errors import HablaError
from habla_ml_tests.defs.conftest import MONDAY, TUESDAY
from habla_ml_tests.testing.s3_clients import BUCKET, new_client


def data_version(instance: dg.DagsterInstance, asset: str, partition: str) -> str:
    filters = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[partition])
    tags = instance.fetch_materializations(filters, limit=1).records[0].asset_materialization.tags
    return tags["dagster/data_version"]


def test_an_ingested_day_has_numbers_tables_and_a_plot_and_lists_skipped_inputs(ingested):
    found = ingested.metadata("raw_recordings", TUESDAY)
    assert found["segments"] > 4 * 6
    assert found["hours"] > 0
    assert found["skipped"] > 0
    assert "is spoken in English" in found["skipped inputs"]
    assert found["loudness"].startswith("![segments by loudness; line: quiet below](<data:image/svg+xml,")
    names = {column.name for column in found["dagster/column_schema"].columns}
    assert {"segment_id", "audio", "loudness_dbfs"} <= names


def test_ingesting_a_day_again_publishes_the_same_object_and_reads_nothing(ingested):
    before = data_version(ingested.instance, "raw_recordings", MONDAY)
    assert ingested.run("ingest_day", MONDAY).success
    assert data_version(ingested.instance, "raw_recordings", MONDAY) == before
    assert ingested.metadata("raw_recordings", MONDAY)["sessions read now"] == 0
    assert ingested.metadata("annotated_corpus", MONDAY)["new events"] == 0


def test_machine_text_never_enters_the_corpus(ingested):
    found = ingested.metadata("annotated_corpus", MONDAY)
    assert 0 < found["annotated"] < ingested.metadata("raw_recordings", MONDAY)["segments"]
    assert found["annotated"] == found["corrected"] + found["confirmed"] + found["unusable"]


@pytest.mark.long
def test_splits_are_disjoint_by_session_and_the_same_corpus_gives_the_same_snapshot(ingested):
    assert ingested.materialize("splits").success
    assert ingested.materialize("splits").success
    records = ingested.instance.fetch_materializations(dg.AssetKey("splits"), limit=2).records
    first, second = (each.asset_materialization.metadata["snapshot"].value for each in records)
    assert first == second
    assert find_sessions_in_two_splits(ingested.lake(), load_latest_snapshot(ingested.lake())) == []


@pytest.mark.long
def test_without_enrolled_people_it_is_unknown_whether_train_has_a_speaker(ingested):
    assert ingested.materialize("splits").success
    lines = (
        [cell.strip() for cell in each.split("|")[1:-1]] for each in ingested.metadata("splits")["splits"].splitlines()
    )
    rows = {name: cells for name, *cells in lines}
    counts = load_latest_snapshot(ingested.lake()).counts
    for at, split in enumerate(rows["split"]):
        expected = ("", "", "") if split == "train" else ("0", "0", str(counts[split]))
        assert (rows["seen"][at], rows["unseen"][at], rows["unknown"][at]) == expected


@pytest.mark.long
def test_changed_conventions_mark_days_stale_and_the_backfill_reads_no_audio(ingested):
    settings = ingested.settings
    other = settings.corpus.conventions.with_name("orthographic-v2.yaml")
    changed = settings.model_copy(update={"corpus": settings.corpus.model_copy(update={"conventions": other})})
    assert find_stale_days(ingested.lake(), settings) == []
    assert find_stale_days(ingested.lake(), changed) == [MONDAY, TUESDAY]
    audio = data_version(ingested.instance, "raw_recordings", MONDAY)
    kept = ingested.lake().fetch_path(audio).rename(ingested.folder / "audio-is-away")
    later = changed.model_copy(update={"recordings": changed.recordings.model_copy(update={"first_day": TUESDAY})})
    with pytest.raises(HablaError, match=f"{MONDAY} could not .* before recordings.first_day"):
        apply_conventions(build_definitions(later), ingested.instance, ingested.lake(), later, print)
    assert find_stale_days(ingested.lake(), changed) == [MONDAY]
    apply_conventions(build_definitions(changed), ingested.instance, ingested.lake(), changed, print)
    assert find_stale_days(ingested.lake(), changed) == []
    assert kept.exists()
    assert "orthographic-v2" in ingested.metadata("annotated_corpus", MONDAY)["conventions"]


@pytest.fixture
def on_s3(tree: dict, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put the lake into a bucket of a real HTTP server, with credentials for boto3."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "habla")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "habla")
    tree["lake"] = {"url": f"s3://{BUCKET}/deployment", "endpoint_url": s3_endpoint, "region": "eu-south-2"}
    return s3_endpoint


@pytest.mark.slow
def test_the_corpus_is_built_on_s3_through_dagster_aws(on_s3, deployment):
    for day in (MONDAY, TUESDAY):
        assert deployment.run("ingest_day", day).success
    assert deployment.materialize("splits").success
    listed = new_client(on_s3).list_objects_v2(Bucket=BUCKET, Prefix="deployment/pointers/splits/latest.json")
    assert listed["KeyCount"] == 1
    snapshot = load_latest_snapshot(deployment.lake())
    assert sum(1 for _ in read_utterances(deployment.lake(), snapshot, "train")) == snapshot.counts["train"]
