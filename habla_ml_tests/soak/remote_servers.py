"""The servers of a deployment that is not on one machine: an S3 server and PostgreSQL, behind a network with faults."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from habla_ml_tests.testing.faulty_network import FaultyNetwork
from habla_ml_tests.testing.postgres_server import PASSWORD, PostgresServer, find_programs
from habla_ml_tests.testing.s3_clients import BUCKET, CREDENTIALS, serve_s3

_HELD_S = 65.0
"""Five seconds longer than a request to S3 waits for a part of its answer."""


@dataclass(frozen=True)
class RemoteServers:
    """Addresses of both servers: through the network for the deployment, and direct ones for the trial itself."""

    network: FaultyNetwork
    endpoint: str
    direct_endpoint: str
    database_port: int
    direct_database_port: int

    def build_lake(self, *, direct: bool = False) -> dict[str, Any]:
        """Return the section `lake` of a profile."""
        return {"url": f"s3://{BUCKET}/lake", "endpoint_url": self.direct_endpoint if direct else self.endpoint}

    def build_storage(self, *, direct: bool = False) -> dict[str, Any]:
        """Return the section `storage` of `dagster.yaml`."""
        database = {
            "hostname": "127.0.0.1",
            "port": self.direct_database_port if direct else self.database_port,
            "username": "habla",
            "password": PASSWORD,
            "db_name": "habla",
            "scheme": "postgresql+psycopg2",
        }
        return {"postgres": {"postgres_db": database}}


@contextmanager
def serve_remote() -> Iterator[RemoteServers]:
    """Run both servers; the credentials of the bucket are variables of this process and its children.

    Raises `SystemExit` if this machine has no PostgreSQL.
    """
    if (programs := find_programs()) is None:
        raise SystemExit("no PostgreSQL 15 or newer; run apt-get install postgresql")
    os.environ.update(CREDENTIALS)
    server = PostgresServer(programs)
    try:
        with serve_s3() as endpoint, FaultyNetwork(_HELD_S) as network:
            port = network.put_before_tcp("127.0.0.1", server.port)
            yield RemoteServers(network, network.put_before_http(endpoint), endpoint, port, server.port)
    finally:
        server.stop()
