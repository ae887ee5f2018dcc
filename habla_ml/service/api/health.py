"""Whether the service lives, and whether it can take clips."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from typing import Annotated, Final

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import text

from habla_ml.errors import HablaError, LakeError
from habla_ml.inbox.clip_files import CLIP_PREFIX
from habla_ml.service.problems import UNAVAILABLE, ProblemError
from habla_ml.service.state import ServiceState, State

_LOG: Final = logging.getLogger(__name__)
_LEAST_FREE_BYTES: Final = 100_000_000
_RETRY_AFTER_S: Final = 30

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The answer if all is well."""

    model_config = ConfigDict(frozen=True)

    status: Annotated[str, Field(pattern="^ok$")] = "ok"


@router.get("/healthz", summary="Check that the service runs", response_description="The process answers")
def read_liveness() -> Health:
    """Check that the process answers. For operators; an app does not need it."""
    return Health()


@router.get("/readyz", summary="Check that the service can take clips", response_description="All parts can be used")
def read_readiness(state: State) -> Health:
    """Check the database, the store of clips, the register and the disk; `failed` of the problem names what cannot be used."""
    failed = []
    for name, check in _CHECKS.items():
        try:
            check(state)
        except (HablaError, OSError):
            _LOG.exception("the service is not ready: %s", name)
            failed.append(name)
    if failed:
        detail = f"not ready: {', '.join(failed)}; the log says why"
        raise ProblemError(UNAVAILABLE, detail, _RETRY_AFTER_S, failed=failed)
    return Health()


def _check_database(state: ServiceState) -> None:
    with state.database.read() as connection:
        connection.execute(text("SELECT 1"))


def _check_clips(state: ServiceState) -> None:
    next(iter(state.inbox.list(CLIP_PREFIX)), None)


def _check_consents(state: ServiceState) -> None:
    state.register.read()


def _check_space(state: ServiceState) -> None:
    folder = state.settings.service_folder
    free = shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.exists())).free
    if free < _LEAST_FREE_BYTES:
        raise LakeError(f"{folder} has {free} bytes free, fewer than {_LEAST_FREE_BYTES}; free space")


_CHECKS: Final[Mapping[str, Callable[[ServiceState], None]]] = {
    "database": _check_database,
    "clips": _check_clips,
    "consents": _check_consents,
    "space": _check_space,
}
