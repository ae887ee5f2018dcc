"""A PostgreSQL server of the tests' own, with a password, from the programs of the machine.

It runs as another user where the tests run as root, which PostgreSQL refuses. It ends with the process that started it,
also a killed one. Its databases have Spanish collation and its clock another zone than the tests, as a real one may. It
does not wait for the disk: what a transaction wrote survives the server's processes, but not the machine.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import psycopg

PASSWORD: Final = "sésamo/ábrete@1"  # noqa: S105 (of a server that ends with the test)
PASSWORD_VARIABLE: Final = "HABLA_DATABASE_PASSWORD"  # noqa: S105 (the name of a variable)
_OLDEST_VERSION: Final = 15
_START_S: Final = 30.0
_USER: Final = "habla"
_DATABASE: Final = "habla"
_CONFIGURATION: Final = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
timezone = 'America/New_York'
max_connections = 200
fsync = off
"""
# The shell ends the server, and then itself, when its standard input ends. SIGQUIT ends it without a last checkpoint.
_UNTIL_INPUT_ENDS: Final = '"$@" </dev/null & server=$!; read -r _; kill -QUIT $server; wait $server'


def find_programs() -> Path | None:
    """Return the folder with the programs of the newest server on this machine, or None without one."""
    installed = [path.resolve().parent for path in map(Path, filter(None, [shutil.which("postgres")]))]
    installed += [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    complete = [each for each in installed if (each / "initdb").exists() and _read_version(each) >= _OLDEST_VERSION]
    return max(complete, key=_read_version, default=None)


class PostgresServer:
    """A running server; end it with `stop`."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="habla_ml_postgres_"))
        self._identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = _find_unprivileged_user()
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._create_cluster()
        self._process = self._start()
        create = "CREATE DATABASE habla TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'es-ES'"
        with self.connect() as connection:
            connection.execute(create)

    @property
    def data_folder(self) -> Path:
        """The folder with the server's files."""
        return self._folder / "data"

    def empty_database(self) -> str:
        """End all connections to the database, empty it, and return its address without the password."""
        with self.connect() as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [_DATABASE])
        with self.connect(_DATABASE) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{_DATABASE}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Return a connection of the administrator, in which each statement is a transaction."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=_USER, dbname=database, password=PASSWORD, autocommit=True
        )

    def crash(self) -> None:
        """End all processes of the server without a shutdown, and start it again on the same files."""
        self._run("pg_ctl", "-D", str(self.data_folder), "stop", "-m", "immediate")
        self._end()
        self._process = self._start()

    def stop(self) -> None:
        """End the server and remove its files."""
        self._end()
        shutil.rmtree(self._folder)

    def read_log(self) -> str:
        """Return what the server logged."""
        return (self._folder / "log").read_text("utf-8")

    def _create_cluster(self) -> None:
        secret = self._folder / "password"
        secret.write_text(PASSWORD, "utf-8")
        secret.chmod(0o644)
        options = ["--username", _USER, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"]
        self._run("initdb", "--pgdata", str(self.data_folder), "--pwfile", str(secret), *options)
        configuration = f"{_CONFIGURATION}port = {self.port}\n"
        with (self.data_folder / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(configuration)

    def _start(self) -> subprocess.Popen[bytes]:
        """Start the server on its files; try twice, since a child of a process with Ray's threads was lost once."""
        process = self._spawn()
        if not self._is_ready(process):
            process.kill()
            process.communicate()
            process = self._spawn()
            assert self._is_ready(process), f"PostgreSQL does not start twice: {self.read_log() or 'no log'}"
        return process

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [str(self._programs / "postgres"), "-D", str(self.data_folder)]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                ["/bin/sh", "-c", _UNTIL_INPUT_ENDS, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **self._identity,
            )

    def _is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until the server accepts connections; return False if its process ended or it took too long."""
        deadline = time.monotonic() + _START_S
        while process.poll() is None and time.monotonic() < deadline:
            try:
                self.connect().close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return True
        return False

    def _end(self) -> None:
        self._process.communicate(timeout=_START_S)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=self._folder, **self._identity)
        assert done.returncode == 0, done.stdout + done.stderr


def _read_version(programs: Path) -> int:
    printed = subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, text=True).stdout
    return int(printed.split()[2].partition(".")[0])


def _find_unprivileged_user() -> pwd.struct_passwd:
    known = {each.pw_name: each for each in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]
