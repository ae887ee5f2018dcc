"""Whether the service lives, and whether it can take clips."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import text

from habla_ml.service.state import State

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The answer of both addresses."""

    model_config = ConfigDict(frozen=True)

    status: Annotated[str, Field(pattern="^ok$")] = "ok"


@router.get("/healthz")
def read_liveness() -> Health:
    """Say that the process answers."""
    return Health()


@router.get("/readyz")
def read_readiness(state: State) -> Health:
    """Say that the database and the store of clips can be used."""
    with state.database.read() as connection:
        connection.execute(text("SELECT 1"))
    next(iter(state.inbox.list("clips/")), None)
    return Health()
