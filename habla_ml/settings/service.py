"""Settings of the service that receives clips, corrections and consents, and shows the pages."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from habla_ml.settings.base import UNQUOTED, EnvironmentVariable, LocalPath, SettingsSection
from habla_ml.settings.data import StoreSettings

_DATABASE_PATH: Final = re.compile("/[^/@]+")


def _check_database_address(address: str) -> str:
    """Return the address; refuse one with a password, because settings are saved and shown, and one that is no address."""
    try:
        parts = urlsplit(address)
        has_password = parts.password is not None or any(key == "password" for key, _ in parse_qsl(parts.query))
        is_complete = parts.scheme == "postgresql" and (parts.port or 1) > 0 and not parts.fragment
        is_complete = is_complete and _DATABASE_PATH.fullmatch(parts.path) is not None
    except ValueError:
        has_password, is_complete = False, False
    if has_password:
        fault = "has a password; leave it out, and put it in the variable that service.database_password_variable names"
        raise PydanticCustomError(UNQUOTED, fault)
    if not is_complete:
        raise PydanticCustomError(UNQUOTED, "is no address of a database; use postgresql://USER@HOST:PORT/DATABASE")
    return address


DatabaseAddress = Annotated[str, AfterValidator(_check_database_address)]
"""Address of a PostgreSQL database without the password, such as `postgresql://habla@db.example:5432/habla`."""


def _require_network(text: str) -> str:
    """Return the address or network; the server would take any other text, trust nobody, and say nothing."""
    try:
        ip_network(text)
    except ValueError:
        raise ValueError("expected an IP address or a network, such as 127.0.0.1 or 10.0.0.0/8") from None
    return text


Network = Annotated[str, AfterValidator(_require_network)]
"""An IP address, or a network without bits behind its prefix."""


class UploadLimitSettings(SettingsSection):
    """Bounds on what devices send. Above a bound of rate or size a request is refused, with when to try again.

    `device_requests_per_minute` and `address_requests_per_minute` count requests of one device and one network address,
    `device_megabytes_per_day` the clips (10⁶ bytes) that one device sends.
    """

    largest_clip_bytes: Annotated[int, Field(ge=1_000)] = 10_000_000
    largest_body_bytes: Annotated[int, Field(ge=1_000)] = 4_000_000
    body_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    most_items_per_batch: Annotated[int, Field(ge=1)] = 500
    device_requests_per_minute: Annotated[int, Field(ge=1)] = 600
    address_requests_per_minute: Annotated[int, Field(ge=1)] = 1_200
    device_megabytes_per_day: Annotated[float, Field(gt=0)] = 1_000.0


class ServiceSettings(SettingsSection):
    """Where the service listens, and where it keeps its state.

    `folder` has the SQLite file and the received clips (default: `service` next to `work_folder`); `database` is the
    address of a PostgreSQL database in place of that file, `inbox` a store for the clips in place of the folder.
    `database_password_variable` names the environment variable with the database's password; without it, PostgreSQL's own
    ways count, such as `~/.pgpass`.
    `public_url` is the address that people and apps use. A request that is not from this machine needs an account or a
    device, in every case. `secret_variable` names the environment variable with the key that signs the sessions; without
    it a key is made and kept in `folder`. An enrolment code is valid for `enrolment_code_hours`, a device's token for
    `device_token_days`. `trusted_proxies` are the addresses or networks that may state the address of a client.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)] = 8787
    workers: Annotated[int, Field(ge=1)] = 1
    public_url: Annotated[str, Field(pattern=r"^https?://[^\s/]+[^\s]*[^/\s]$")] | None = None
    folder: LocalPath | None = None
    database: DatabaseAddress | None = None
    database_password_variable: EnvironmentVariable = "HABLA_DATABASE_PASSWORD"  # noqa: S105 (the name of a variable)
    inbox: StoreSettings | None = None
    secret_variable: EnvironmentVariable = "HABLA_SERVICE_SECRET"  # noqa: S105 (the name of a variable)
    enrolment_code_hours: Annotated[float, Field(gt=0, le=720)] = 24.0
    device_token_days: Annotated[int, Field(ge=1, le=3_650)] = 365
    trusted_proxies: tuple[Network, ...] = ()
    uploads: UploadLimitSettings = UploadLimitSettings()

    @property
    def is_encrypted(self) -> bool:
        """Whether people and apps use an address with TLS."""
        return (self.public_url or "").startswith("https:")

    @property
    def address(self) -> str:
        """The address of the pages, without a slash at the end: the public one, or else the one on this machine."""
        if self.public_url is not None:
            return self.public_url
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 (every address of the machine)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
