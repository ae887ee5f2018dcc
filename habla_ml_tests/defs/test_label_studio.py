from habla_ml_tests.defs.conftest import DagsterDeployment


def test_without_a_server_the_sensor_only_says_so(deployment: DagsterDeployment) -> None:
    found = deployment.tick("label_studio_corrections")
    assert not found.run_requests
    assert "none was started here" in str(found.skip_reason.skip_message)
