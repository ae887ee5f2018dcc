"""What the handlers of the service share: settings, database, lake and stores, opened once in each worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Final

from cachetools import TTLCache
from fastapi import Depends, Request

from habla_ml.consent.register_cache import RegisterCache
from habla_ml.inbox.clip_files import open_clip_store
from habla_ml.inbox.clips import ClipReceiver
from habla_ml.inbox.database import Database, open_database
from habla_ml.inbox.devices import Device
from habla_ml.inbox.request_counters import RequestCounters
from habla_ml.lake.factory import open_lake, open_store
from habla_ml.release.model_info import ModelInfoCache
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.lake import Lake, Store


_MOST_RECENT: Final = 10_000
_RECENT_S: Final = 5.0


def read_utc_clock() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class ServiceState:
    """The deployment that a worker of the service works on."""

    settings: Settings
    read_clock: Callable[[], datetime] = read_utc_clock

    @cached_property
    def database(self) -> Database:
        """The service's database."""
        return open_database(self.settings)

    @cached_property
    def counters(self) -> RequestCounters:
        """The counters of the limits."""
        return RequestCounters(self.settings.service_folder / "counters.sqlite")

    @cached_property
    def lake(self) -> Lake:
        """The lake of the deployment."""
        return open_lake(self.settings.lake, self.settings.work_folder / "cache")

    @cached_property
    def inbox(self) -> Store:
        """The store of the received clips."""
        return open_clip_store(self.settings)

    @cached_property
    def clip_receiver(self) -> ClipReceiver:
        """What keeps the received clips."""
        return ClipReceiver(self.database, self.inbox, self.settings.consent)

    @cached_property
    def recent_devices(self) -> TTLCache[str | None, Device]:
        """The devices whose token was found valid within the last seconds, by token.

        Only uploads look here: before they are kept, they ask the database whether the device was revoked meanwhile.
        """
        return TTLCache(_MOST_RECENT, _RECENT_S)

    @cached_property
    def recent_consents(self) -> TTLCache[str | None, bool]:
        """The contributors whose clips could be kept within the last seconds, as typed.

        Only uploads look here: before they are kept, they ask the database again.
        """
        return TTLCache(_MOST_RECENT, _RECENT_S)

    @cached_property
    def register(self) -> RegisterCache:
        """The register's file."""
        return RegisterCache(self.settings.consent.registry)

    def read_today(self) -> date:
        """Return the present day in the time zone of the settings."""
        return self.read_clock().astimezone(self.settings.zone).date()

    @cached_property
    def release_store(self) -> Store:
        """The store of the releases."""
        return open_store(self.settings.release.store)

    @cached_property
    def model_infos(self) -> ModelInfoCache:
        """The models that the channels offer."""
        return ModelInfoCache(self.release_store)


async def get_state(request: Request) -> ServiceState:
    """Return the state of the application that serves the request."""
    state: ServiceState = request.app.state.service
    return state


State = Annotated[ServiceState, Depends(get_state)]
"""Type of a handler's parameter that receives the state."""
