"""Workers that are killed under load lose nothing that they acknowledged; 50 kills here, 1,000 in `make soak`."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from habla_ml_tests.soak.upload_kills import Backends, kill_under_load
from habla_ml_tests.soak.upload_load import Acknowledged, find_lost_or_doubled
from habla_ml_tests.testing.faulty_network import FaultyNetwork
from habla_ml_tests.testing.postgres_server import PostgresServer
from habla_ml_tests.testing.received_clips import PHONE, make_clip_id, make_inbox
from habla_ml_tests.testing.s3_clients import BUCKET, CREDENTIALS


@pytest.mark.slow
def test_fifty_kills_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    report = kill_under_load(tmp_path, kills=50, longest_pause_s=0.8, seed=1)
    assert report.problems == ()
    # The kills must have met requests: some were repeated, and some files were left without a row.
    assert min(report.clips, report.data_points) > 200
    assert report.repeats > 0
    assert set(report.answers) <= {200, 201}


@pytest.mark.slow
def test_kills_of_workers_and_crashes_of_the_database_lose_and_double_nothing(
    tmp_path: Path,
    postgres_server: PostgresServer,
    make_postgres_section: Callable[[], dict[str, str]],
    s3_endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    inbox = {"url": f"s3://{BUCKET}/kills", "endpoint_url": s3_endpoint}
    backends = Backends({**make_postgres_section(), "inbox": inbox}, postgres_server)
    report = kill_under_load(tmp_path, kills=10, longest_pause_s=1.0, seed=1, backends=backends)
    assert report.problems == ()
    assert (report.kills, report.crashes) == (10, 2)
    assert min(report.clips, report.data_points) > 10


@pytest.mark.slow
def test_faults_of_the_network_lose_and_double_nothing(
    tmp_path: Path,
    postgres_server: PostgresServer,
    make_postgres_section: Callable[[], dict[str, str]],
    s3_endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with FaultyNetwork() as network:
        port = network.put_before_tcp("127.0.0.1", postgres_server.port)
        address = make_postgres_section()["database"].replace(f":{postgres_server.port}/", f":{port}/")
        inbox = {"url": f"s3://{BUCKET}/faults", "endpoint_url": network.put_before_http(s3_endpoint)}
        backends = Backends({"database": address, "inbox": inbox}, network=network)
        report = kill_under_load(tmp_path, kills=3, longest_pause_s=6.0, seed=3, backends=backends)
    assert report.problems == ()
    assert min(report.clips, report.data_points) > 10
    assert report.repeats > 0
    assert len(report.faults) >= 5, report.faults


def test_what_is_lost_or_doubled_is_found(tmp_path: Path) -> None:
    inbox = make_inbox(tmp_path)
    for number in range(3):
        inbox.receive(number, data=bytes([number]))
    right = {make_clip_id(number): hashlib.sha256(bytes([number])).hexdigest() for number in range(3)}
    assert find_lost_or_doubled(inbox.database, inbox.store, [Acknowledged(right)]) == []
    inbox.store.put_if_absent("clips/00/twice", bytes([1]))
    inbox.store.delete(inbox.read_clip(make_clip_id(2))["file_key"])
    told = Acknowledged({make_clip_id(9): "0" * 64}, {(PHONE, make_clip_id(8)): "Texto."})
    assert find_lost_or_doubled(inbox.database, inbox.store, [told]) == [
        "file clips/00/twice belongs to no clip",
        f"clip {make_clip_id(2)} has not the bytes that it names",
        f"clip {make_clip_id(9)} was acknowledged and is lost",
        f"data point {(PHONE, make_clip_id(8))} was acknowledged and is lost",
    ]
