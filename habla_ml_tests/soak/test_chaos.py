"""A short chaos: the whole deployment is killed, and heals without a person."""

import pytest

from habla_ml_tests.soak.chaos import settle
from habla_ml_tests.soak.live_deployment import LiveDeployment, wait_until
from habla_ml_tests.soak.recorder import Recorder

DEADLINE_S = 240.0


@pytest.mark.slow
@pytest.mark.timeout(3 * DEADLINE_S)
def test_runs_that_were_killed_with_their_daemon_start_again_by_themselves(tmp_path):
    deployment = LiveDeployment(tmp_path, growth_hours=10, dagster={"run_monitoring": {"poll_interval_seconds": 3}})
    try:
        recorder = Recorder(deployment.recordings)
        recorder.record()
        recorder.record()
        deployment.start()
        assert wait_until(lambda: len(deployment.processes("habla_ml.defs.run_worker")) == 2, DEADLINE_S, 0.1)
        assert wait_until(lambda: _is_a_run_started(deployment), DEADLINE_S, 0.1)
        deployment.kill()
        recorder.record()
        deployment.start()
        assert settle(deployment, recorder, versions=0, timeout_s=DEADLINE_S) == []
    finally:
        deployment.close()


def _is_a_run_started(deployment: LiveDeployment) -> bool:
    return any(run.status.value == "STARTED" for run in deployment.instance.get_runs())
