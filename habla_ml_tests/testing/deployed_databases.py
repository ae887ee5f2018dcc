"""A PostgreSQL server with the roles and databases of a deployment, made by `deploy/postgres/create_databases.sh`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
import pytest

from habla_ml_tests.testing.deploy_files import DEPLOY
from habla_ml_tests.testing.postgres_server import PASSWORD, PostgresServer, find_programs

PASSWORDS: Final = {"dagster": "d'a\"g$ster/1", "habla": "h:a\\bl@a 2"}
"""Role → password."""
_ADMINISTRATOR: Final = "administrator"


class DeployedDatabases:
    """The server, and the addresses of its databases; each is named as its role."""

    def __init__(self, server: PostgresServer) -> None:
        self.port = server.port

    @property
    def dagster_variables(self) -> dict[str, str]:
        """The variables that `deploy/dagster/host_postgres.yaml` names."""
        return {
            "DAGSTER_PG_HOST": "127.0.0.1",
            "DAGSTER_PG_PORT": str(self.port),
            "DAGSTER_PG_USERNAME": "dagster",
            "DAGSTER_PG_DB": "dagster",
            "DAGSTER_PG_PASSWORD": PASSWORDS["dagster"],
        }

    def connect(self, user: str, database: str) -> psycopg.Connection:
        """Return a connection in which each statement is a transaction."""
        password = PASSWORDS.get(user, PASSWORD)
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=user, dbname=database, password=password, autocommit=True
        )


@contextmanager
def serve_databases() -> Iterator[DeployedDatabases]:
    """Run a server of its own, because the script creates a role that is the administrator of the others.

    Skips the test where the machine has no PostgreSQL.
    """
    if (programs := find_programs()) is None:
        pytest.skip("no PostgreSQL 15 or newer: apt-get install -y --no-install-recommends postgresql, then run again")
    server = PostgresServer(programs)
    try:
        databases = DeployedDatabases(server)
        with server.connect() as connection:
            connection.execute(f"CREATE ROLE {_ADMINISTRATOR} SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
        with databases.connect(_ADMINISTRATOR, "postgres") as connection:
            connection.execute("ALTER ROLE habla RENAME TO first_administrator")
            connection.execute("DROP DATABASE habla")
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "POSTGRES_USER": _ADMINISTRATOR,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(server.port),
            "PGPASSWORD": PASSWORD,
            "DAGSTER_PG_PASSWORD": PASSWORDS["dagster"],
            "HABLA_DATABASE_PASSWORD": PASSWORDS["habla"],
        }
        subprocess.run(["sh", str(DEPLOY / "postgres" / "create_databases.sh")], env=environment, check=True)
        yield databases
    finally:
        server.stop()
