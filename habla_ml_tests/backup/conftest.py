"""A small lake and an empty store of backups, in folders and on an S3 server."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from habla_ml.lake import DirectoryStore, S3Store, Store
from habla_ml_tests.testing.s3_clients import BUCKET, new_client
from habla_ml_tests.testing.small_lake import SmallLake, make_small_lake

MakeStore = Callable[[str], Store]


@pytest.fixture(params=["folder", "s3"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """A function that opens an empty store."""
    if request.param == "folder":
        return lambda name: DirectoryStore(tmp_path / name)
    endpoint, prefix = request.getfixturevalue("s3_endpoint"), f"tests/{uuid.uuid4().hex}"
    return lambda name: S3Store(new_client(endpoint), BUCKET, f"{prefix}/{name}")


@pytest.fixture
def small_lake(make_store: MakeStore, tmp_path: Path) -> SmallLake:
    return make_small_lake(tmp_path, make_store("lake"))


@pytest.fixture
def folder_lake(tmp_path: Path) -> SmallLake:
    """The small lake in a folder."""
    return make_small_lake(tmp_path, DirectoryStore(tmp_path / "lake"))


@pytest.fixture
def target(tmp_path: Path) -> Store:
    """A store of backups in a folder."""
    return DirectoryStore(tmp_path / "backups")
