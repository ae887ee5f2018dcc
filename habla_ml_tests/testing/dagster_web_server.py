"""What a person does in Dagster's UI, by the same GraphQL requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import httpx

REPOSITORY: Final = "__repository__"
"""Dagster's name of the definitions of a code location."""
ASSET_JOB: Final = "__ASSET_JOB"
"""Dagster's name of the job that the button *Materialize* launches."""
_LOCATIONS: Final = """
{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError { __typename } } } } }
"""
_LAUNCH: Final = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) { __typename ... on LaunchRunSuccess { run { runId } } ... on Error { message } }
}
"""
_START_SENSOR: Final = """
mutation ($selector: SensorSelector!) {
  startSensor(sensorSelector: $selector) { __typename ... on Error { message } }
}
"""
_RUN_STATUS: Final = """
query ($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }
"""


class DagsterWebServer:
    """The web server at an address."""

    def __init__(self, url: str) -> None:
        self._url = url

    def read_locations(self) -> dict[str, str]:
        """Return the code locations → `RepositoryLocation` where it is loaded, else the kind of the error."""
        entries = self._request(_LOCATIONS)["workspaceOrError"]["locationEntries"]
        return {each["name"]: (each["locationOrLoadError"] or {}).get("__typename", "") for each in entries}

    def launch(self, location: str, job: str, partition: str, assets: Sequence[str] = ()) -> str:
        """Launch a partition of a job, of these assets only where they are given; return the id of the run."""
        selector: dict[str, Any] = _select(location) | {"jobName": job}
        if assets:
            selector["assetSelection"] = [{"path": [each]} for each in assets]
        tags = [{"key": "dagster/partition", "value": partition}]
        params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}
        answer = self._request(_LAUNCH, params=params)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def start_sensor(self, location: str, name: str) -> None:
        """Turn a sensor on."""
        answer = self._request(_START_SENSOR, selector=_select(location) | {"sensorName": name})["startSensor"]
        assert answer["__typename"] == "Sensor", answer

    def read_run_status(self, run_id: str) -> str:
        """Return the status of a run, such as `QUEUED`."""
        return str(self._request(_RUN_STATUS, run=run_id)["runOrError"]["status"])

    def _request(self, query: str, **variables: Any) -> dict[str, Any]:
        body = {"query": query, "variables": variables}
        answer = httpx.post(f"{self._url}/graphql", json=body, timeout=60).raise_for_status().json()
        assert "errors" not in answer, answer["errors"]
        return dict(answer["data"])


def _select(location: str) -> dict[str, str]:
    return {"repositoryLocationName": location, "repositoryName": REPOSITORY}
