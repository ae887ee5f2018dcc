"""Agreement between annotators in the UI."""

from dataclasses import replace
from datetime import timedelta

import dagster as dg
import pytest

from habla_ml.annotation.event_log import append_events, load_events, read_events
from habla_ml.corpus.conventions import load_conventions
from habla_ml.defs.corpus.agreement import build_floor_metadata
from habla_ml_tests.defs.conftest import MONDAY, DagsterDeployment


def add_second_transcripts(deployment: DagsterDeployment, changed_count: int) -> None:
    """Add Eva's transcripts, which equal the teacher's apart from one more word in the first ones."""
    lake = deployment.lake()
    log = load_events(lake, MONDAY)
    assert log is not None
    first = [each for each in read_events(lake, log) if each.status != "unusable" and "[" not in each.text]
    opinions = [
        replace(
            each,
            person="Eva",
            source="table:eva",
            text=f"{each.text} vale" if at < changed_count else each.text,
            created_at=each.created_at - timedelta(days=1),
        )
        for at, each in enumerate(first)
    ]
    append_events(lake, MONDAY, opinions, {})


def run_agreement_check(deployment: DagsterDeployment) -> dg.AssetCheckEvaluation:
    result = dg.materialize(
        [*(deployment.definitions.assets or ()), *(deployment.definitions.asset_checks or ())],
        selection=dg.AssetSelection.assets("annotated_corpus"),
        instance=deployment.instance,
        partition_key=MONDAY,
        resources=dict(deployment.definitions.resources or {}),
    )
    [found] = [each for each in result.get_asset_check_evaluations() if each.check_name == "annotators_agree"]
    return found


def test_the_check_passes_with_a_note_for_a_day_with_one_annotator(ingested: DagsterDeployment) -> None:
    found = run_agreement_check(ingested)
    assert found.passed
    assert found.description is not None
    assert "not measured" in found.description


@pytest.mark.long
def test_the_check_measures_the_disagreement_of_two_annotators(ingested: DagsterDeployment) -> None:
    add_second_transcripts(ingested, changed_count=1)
    close = run_agreement_check(ingested)
    assert close.passed
    assert close.metadata["segments"].value >= 10
    assert 0 < close.metadata["disagreement WER %"].value < 5
    add_second_transcripts(ingested, changed_count=1_000)
    far = run_agreement_check(ingested)
    assert far.metadata["disagreement WER %"].value > close.metadata["disagreement WER %"].value
    assert "'first': 'Eva', 'second': 'habla'" in str(far.metadata["pairs"].value)


@pytest.fixture
def tree(tree: dict, request: pytest.FixtureRequest) -> dict:
    bound = getattr(request, "param", None)
    return tree if bound is None else {**tree, "annotation": {"most_disagreement": bound}}


@pytest.mark.parametrize("tree", [0.0], indirect=True)
def test_the_check_warns_above_the_bound_and_does_not_block(ingested: DagsterDeployment) -> None:
    add_second_transcripts(ingested, changed_count=1_000)
    found = run_agreement_check(ingested)
    assert (found.passed, found.severity, found.blocking) == (False, dg.AssetCheckSeverity.WARN, False)


def test_the_floor_of_the_whole_corpus_is_one_line(ingested: DagsterDeployment) -> None:
    conventions = load_conventions(ingested.settings.corpus.conventions)
    name = "floor (between annotators)"
    assert build_floor_metadata(ingested.lake(), conventions)[name].startswith("not measured")
    add_second_transcripts(ingested, changed_count=1_000)
    found = build_floor_metadata(ingested.lake(), conventions)
    assert 5 < found["floor WER %"] < 60
    assert "of words" in found[name]
