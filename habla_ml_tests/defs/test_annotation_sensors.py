from habla_ml.annotation.sources import SOURCES
from habla_ml_tests.defs.conftest import DagsterDeployment


def test_without_a_server_the_sensor_skips_with_the_command_that_starts_one(deployment: DagsterDeployment) -> None:
    found = deployment.tick("label_studio_corrections")
    assert not found.run_requests
    assert "habla-ml label-studio up -p " in str(found.skip_reason.skip_message)


def test_every_source_has_a_sensor(deployment: DagsterDeployment) -> None:
    names = {each.name for each in deployment.definitions.sensors or ()}
    assert (
        {each.sensor for each in SOURCES}
        == {"new_corrections", "label_studio_corrections", "service_corrections"}
        <= names
    )
