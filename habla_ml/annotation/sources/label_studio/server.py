"""The embedded Label Studio server: its environment, login and process. All its data is in one folder.

It listens on this machine only. Its packages conflict with ours, so it has its own virtual environment.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import httpx

from habla_ml.errors import ServiceError, SettingsError
from habla_ml.process import find_port_problem
from habla_ml.settings import LabelStudioSettings, Settings
from habla_ml.virtual_environments import install_environment, is_installed, sibling_environment

LABEL_STUDIO_VERSION: Final = "1.23.2"
CONSTRAINTS_FILE: Final = "constraints-label-studio.txt"

_LOGIN_FILE: Final = "login.json"
_STARTUP_TIMEOUT_S: Final = 300.0
_STOP_TIMEOUT_S: Final = 15.0


@dataclass(frozen=True)
class Login:
    """Credentials of the embedded server."""

    username: str
    password: str
    token: str


@dataclass(frozen=True)
class ServerConfig:
    """Paths and port of an embedded server."""

    environment: Path
    folder: Path
    """Database, login and log."""
    documents: Path
    """Folder of the local files that it serves: audio."""
    port: int
    allow_private_addresses: bool = False
    """Whether the server signs S3 addresses in the local network; set where the lake has its own S3 endpoint."""

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """Its log file."""
        return self.folder / "server.log"


@dataclass(frozen=True)
class RunningServer:
    """A started server."""

    url: str
    login: Login
    process: subprocess.Popen[bytes]


def resolve_server_config(settings: Settings) -> ServerConfig:
    """Return paths and port of the embedded server."""
    chosen = settings.annotation.label_studio
    folder = chosen.folder or settings.work_folder / "label_studio"
    environment = chosen.environment or sibling_environment("label-studio")
    documents = chosen.documents or folder / "documents"
    return ServerConfig(environment, folder, documents, chosen.port, settings.lake.endpoint_url is not None)


def has_been_started(settings: Settings) -> bool:
    """Return whether the embedded server was ever started."""
    return (resolve_server_config(settings).folder / _LOGIN_FILE).exists()


def resolve_server_token(settings: Settings, environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return address and token of the configured server.

    Raises `SettingsError` if the token's environment variable is not set, or the embedded server was never started.
    """
    chosen: LabelStudioSettings = settings.annotation.label_studio
    if chosen.url is None:
        config = resolve_server_config(settings)
        if not has_been_started(settings):
            raise SettingsError(
                f"no Label Studio was started in {config.folder}; run `{settings.command('label-studio', 'up')}`, or set "
                "annotation.label_studio.url"
            )
        return config.url, load_or_create_login(config.folder).token
    token = environment.get(chosen.token_variable, "").strip()
    if not token:
        raise SettingsError(
            f"environment variable {chosen.token_variable} is empty; set it to the token of {chosen.url} (Account & "
            "Settings in Label Studio), or name another variable in annotation.label_studio.token_variable"
        )
    return chosen.url, token


def load_or_create_login(folder: Path) -> Login:
    """Return the login of the server in `folder`; create it at the first call, readable by its owner only.

    Raises `SettingsError` if the file cannot be written or read.
    """
    path = folder / _LOGIN_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return Login(**json.loads(path.read_text("utf-8")))
        login = Login("habla@localhost.local", secrets.token_urlsafe(15), secrets.token_hex(20))
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(login), file)
    except (OSError, ValueError, TypeError) as error:
        fault = f"login {path} cannot be used: {error}"
        raise SettingsError(f"{fault}; remove {folder} to start with a new server") from error
    return login


def install_server(environment: Path, log: Callable[[str], None]) -> None:
    """Install the server's virtual environment where it is missing: about 1 GB, one or two minutes.

    Raises `ServiceError` if pip failed; the message has its last lines.
    """
    if not is_installed(environment):
        log(f"installing Label Studio {LABEL_STUDIO_VERSION}: about 1 GB, one or two minutes")
        install_environment(environment, [f"label-studio=={LABEL_STUDIO_VERSION}"], CONSTRAINTS_FILE, log)


@contextmanager
def run_server(config: ServerConfig) -> Iterator[RunningServer]:
    """Start the server, wait until it responds, and stop it at the end.

    On Linux it ends with this process. The first start creates the database, which takes half a minute. Raises
    `ServiceError` if the port is in use, or the server ends or does not respond for five minutes.
    """
    login = load_or_create_login(config.folder)
    # Label Studio takes the next port without a message where this one is in use.
    if problem := find_port_problem(config.port):
        raise ServiceError(f"{problem}, or set annotation.label_studio.port")
    config.documents.mkdir(parents=True, exist_ok=True)
    launcher = [sys.executable, "-m", "habla_ml.annotation.sources.label_studio.launch"]
    command = [
        str(config.environment / "bin" / "label-studio"),
        "start",
        "--no-browser",
        "--internal-host",
        "127.0.0.1",
    ]
    with config.log.open("ab") as log:
        process = subprocess.Popen(
            [*launcher, *command, "-p", str(config.port)],
            env=_build_environment(config, login),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for_answer(config, process)
        yield RunningServer(config.url, login, process)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _build_environment(config: ServerConfig, login: Login) -> dict[str, str]:
    """Return the environment of the server, with our S3 credentials, which sign the addresses of audio."""
    kept = {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE"}
    return {
        **{name: value for name, value in os.environ.items() if name in kept or name.startswith("AWS_")},
        "LABEL_STUDIO_BASE_DATA_DIR": str(config.folder.resolve() / "data"),
        "LABEL_STUDIO_USERNAME": login.username,
        "LABEL_STUDIO_PASSWORD": login.password,
        "LABEL_STUDIO_USER_TOKEN": login.token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(config.documents.resolve()),
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SSRF_PROTECTION_ENABLED": "false" if config.allow_private_addresses else "true",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "PYTHONUNBUFFERED": "1",
    }


def _wait_for_answer(config: ServerConfig, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _STARTUP_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            tail = config.log.read_text("utf-8", errors="replace")[-500:]
            fault = f"Label Studio ended with exit code {process.returncode}"
            raise ServiceError(f"{fault}; the end of {config.log}: {tail}")
        with suppress(httpx.TransportError):
            if httpx.get(f"{config.url}/health", timeout=5.0, trust_env=False).is_success:
                return
        time.sleep(0.25)
    raise ServiceError(f"Label Studio did not respond on {config.url} for {_STARTUP_TIMEOUT_S:g} s; read {config.log}")
