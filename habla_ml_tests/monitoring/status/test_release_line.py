"""The line of the released model, with its word error rate, on a deployment with v1 on the channel."""

from __future__ import annotations

from datetime import datetime

import pytest

from habla_ml.errors import ReleaseError
from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
from habla_ml.monitoring.finding import Finding
from habla_ml.monitoring.released_model import load_monitored_release, watch_release
from habla_ml.monitoring.status.inputs import StatusInputs
from habla_ml.monitoring.status.storage_lines import describe_newest_version, describe_release
from habla_ml.release.channel import Channel
from habla_ml.release.moves import rollback
from habla_ml_tests.monitoring.conftest import artefact, lake, monitored_deployment, settings, store, week_start
from habla_ml_tests.testing.monitored_deployment import ERROR_RATE

__all__ = ["artefact", "lake", "monitored_deployment", "settings", "store"]


def open_inputs(deployment, now: datetime) -> StatusInputs:
    return StatusInputs(deployment.settings, now, lambda: deployment.lake, lambda: deployment.store, lambda: None)


def read_release_line(deployment, now: datetime) -> Finding:
    (found,) = describe_release(open_inputs(deployment, now))
    return found


def test_a_newest_version_that_is_not_released_is_shown_with_its_verdict(monitored_deployment):
    inputs = open_inputs(monitored_deployment, week_start(1, monitored_deployment.settings))
    assert list(describe_newest_version(inputs)) == []
    report = inputs.lake.read_pointer("models/v1/report")
    for version, verdict in (("v9", "collect_more"), ("v10", "refuse"), ("v10-s2", "deploy")):
        inputs.lake.move_pointer(f"models/{version}/report", {**report.value, "verdict": verdict}, None)
    (found,) = describe_newest_version(inputs)
    assert found.found == "v10 is not on the channel stable; the rule's verdict: refuse"


def test_the_released_model_is_shown_with_its_error_rate_and_that_of_the_base(monitored_deployment):
    found = read_release_line(monitored_deployment, week_start(1, monitored_deployment.settings))
    models = read_stored_comparison(monitored_deployment.lake, "v1").models
    assert found.health == "ok"
    assert found.values["version"] == "v1"
    assert found.values["wer"] == pytest.approx(models[-1].wer.value)
    assert found.values["base_wer"] == pytest.approx(models[0].wer.value)
    assert f"WER {models[-1].wer.value:.1%}" in found.found
    assert "[" in found.found


@pytest.mark.long
def test_an_active_alarm_needs_a_person(monitored_deployment, monkeypatch):
    for week in range(8):
        monitored_deployment.simulate_week(week, ERROR_RATE if week < 3 else 0.6)
    now = week_start(8, monitored_deployment.settings)
    watch_release(monitored_deployment.lake, monitored_deployment.store, monitored_deployment.settings, now, print)
    found = read_release_line(monitored_deployment, now)
    assert found.health == "wrong"
    first, *_, last = load_monitored_release(monitored_deployment.lake, "v1").alarms
    assert first < last
    assert f"more errors since the week of {first}" in found.found
    assert found.next_step == "open `released_model_quality`", "the first release has none to go back to"
    with pytest.raises(ReleaseError, match="there is no earlier one"):
        rollback(monitored_deployment.store, "stable")
    monkeypatch.setattr(Channel, "previous_release", lambda channel: channel.current)
    later = read_release_line(monitored_deployment, now)
    assert "habla-ml rollback" in later.next_step
