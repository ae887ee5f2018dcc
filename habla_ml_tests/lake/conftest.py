"""Stores on a file system and on an S3 server, and a small disk."""

from __future__ import annotations

import os
import resource
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from habla_ml.lake import DirectoryStore, S3Store, Store
from habla_ml_tests.testing.s3_clients import BUCKET, new_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SMALL_DISK_BYTES = 1 << 20


@pytest.fixture
def s3_client(s3_endpoint: str) -> S3Client:
    return new_client(s3_endpoint)


@pytest.fixture(params=["folder", "s3"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """A function that opens the same store, each time with its own connection."""
    if request.param == "folder":
        return lambda: DirectoryStore(tmp_path / "store")
    endpoint, prefix = request.getfixturevalue("s3_endpoint"), f"tests/{uuid.uuid4().hex}"
    return lambda: S3Store(new_client(endpoint), BUCKET, prefix, part_bytes=5 << 20)


@pytest.fixture
def store(new_store: Callable[[], Store]) -> Store:
    return new_store()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 1 MiB, or with a limit of 1 MiB per file if mounting is not permitted."""
    folder = tmp_path / "small_disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "habla-test", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not mounted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_DISK_BYTES, limits[1]))
    try:
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)
