"""A consent that is given after the ingest: sensor and run."""

from pathlib import Path

import pytest
import yaml

from habla_ml_tests.defs.conftest import MONDAY, TUESDAY, DagsterDeployment


@pytest.fixture
def tree(tree: dict, tmp_path: Path) -> dict:
    """Return a deployment with a register: consent is missing for Tuesday's sessions from ten on."""
    register(tmp_path, given=None)
    return {**tree, "consent": {"registry": "consents.yaml"}}


def register(folder: Path, given: str | None) -> None:
    entry = {"contributor": "c-17", "sessions": ["*_20260303_1*"], **({"given": given} if given else {})}
    (folder / "consents.yaml").write_text(yaml.safe_dump({"contributors": [entry]}))


@pytest.mark.long
def test_a_later_consent_requests_its_day_only_under_a_new_key(deployment: DagsterDeployment) -> None:
    first = {str(each.partition_key): each.run_key for each in deployment.tick("new_recordings").run_requests or ()}
    assert set(first) == {MONDAY, TUESDAY}
    for day in first:
        assert deployment.run("ingest_day", day).success
    assert not deployment.tick("new_recordings").run_requests
    before = deployment.metadata("raw_recordings", TUESDAY)
    assert "has given no consent yet" in before["skipped inputs"]

    register(deployment.folder, given="2026-01-01")
    (request,) = deployment.tick("new_recordings").run_requests or ()
    assert request.partition_key == TUESDAY
    assert request.run_key not in first.values()
    assert deployment.run("ingest_day", TUESDAY, **request.tags).success
    after = deployment.metadata("raw_recordings", TUESDAY)
    assert after["segments"] > before["segments"]
    assert "consent" not in after["skipped inputs"]
    assert deployment.metadata("annotated_corpus", TUESDAY)["annotated"] > 0
    assert not deployment.tick("new_recordings").run_requests
