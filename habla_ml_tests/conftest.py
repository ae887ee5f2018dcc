"""Fixtures of several packages, and the profile of hypothesis."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import settings

from habla_ml_tests.testing.habla_sessions import HablaWorkspace, make_workspace
from habla_ml_tests.testing.postgres_server import PASSWORD, PASSWORD_VARIABLE, PostgresServer, find_programs
from habla_ml_tests.testing.ray_cluster import RayCluster
from habla_ml_tests.testing.s3_clients import CREDENTIALS, serve_s3

# Ray's and Dagster's gRPC would run handlers in each child that a test starts; it reads this when it is first used.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# The time of an example depends on the load of the machine, so no example has a deadline.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")


_SHARED_FIXTURES: Final = (
    "habla_ml_tests/annotation/sources/label_studio/",
    "habla_ml_tests/defs/test_ray_",
    "habla_ml_tests/export/coreml/",
)
"""Starts of the names of files with an expensive fixture of the session: a server, a cluster, a conversion."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the files that share an expensive fixture to one process, and each other file to any."""
    from xdist.scheduler import LoadFileScheduling

    class SharedFixtureScheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            return next((each for each in _SHARED_FIXTURES if file.startswith(each)), file)

    return SharedFixtureScheduling(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have slow cases, so that no core waits at the end for one of them."""
    slow = {each.path for each in items if each.get_closest_marker("slow")}
    items.sort(key=lambda each: each.path not in slow)


@pytest.fixture
def workspace(tmp_path: Path) -> HablaWorkspace:
    """Return Habla's folders without a session, and an empty lake."""
    return make_workspace(tmp_path)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of an S3 server in its own process."""
    with serve_s3() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server; skips the test where the machine has none."""
    if (programs := find_programs()) is None:
        pytest.skip("no PostgreSQL 15 or newer: apt-get install -y --no-install-recommends postgresql, then run again")
    server = PostgresServer(programs)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayCluster]:
    """A Ray cluster with two machines besides its head; a test that kills a node starts it again."""
    cluster = RayCluster(CREDENTIALS)
    try:
        cluster.start_missing_nodes()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def make_postgres_section(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], dict[str, str]]:
    """Return a function that makes the section `service` of a deployment with the server's database, and empties it."""
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    return lambda: {"database": postgres_server.empty_database()}


@pytest.fixture(params=["sqlite", "postgres"])
def make_service_section(request: pytest.FixtureRequest) -> Callable[[], dict[str, str]]:
    """Return a function that makes the section `service` of a new deployment, once for each kind of database."""
    if request.param == "sqlite":
        return dict
    made: Callable[[], dict[str, str]] = request.getfixturevalue("make_postgres_section")
    return made


@pytest.fixture
def service_section(make_service_section: Callable[[], dict[str, str]]) -> dict[str, str]:
    """The section `service` of a new deployment."""
    return make_service_section()
