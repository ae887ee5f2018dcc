"""A lake on S3 through a network with faults: each single fault is overcome, and many lose and double nothing."""

from __future__ import annotations

import random
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from habla_ml.errors import LakeError
from habla_ml.lake import Lake, S3Store, factory, probe_conditional_writes
from habla_ml.settings import StoreSettings
from habla_ml_tests.testing.faulty_network import (
    HTTP_FAULTS,
    Fault,
    FaultPlan,
    FaultyHttp,
    fail_at_random,
    fail_once,
    parse_address,
)
from habla_ml_tests.testing.s3_clients import BUCKET, CREDENTIALS, new_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART_BYTES = 5 << 20
LARGE = random.Random(1).randbytes(PART_BYTES + 1000)
SMALL = b"a pointer or a small object" * 10


@pytest.fixture
def create_client(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], S3Client]:
    """Return a function that makes the client of a deployment for an address, with a shorter time limit."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(factory, "_READ_TIMEOUT_S", 1)
    settings = StoreSettings.model_validate({"url": f"s3://{BUCKET}"})
    return lambda endpoint: factory.create_s3_client(settings.model_copy(update={"endpoint_url": endpoint}))


def open_place(store: S3Store, _: S3Store, *, folder: Path) -> None:
    probe_conditional_writes(store._client, BUCKET, store.url.removeprefix(f"s3://{BUCKET}/"))


def put(store: S3Store, direct: S3Store, data: bytes, *, folder: Path) -> None:
    assert store.put_if_absent("objects/new", data) is True
    assert direct.read("objects/new") == data


def move(store: S3Store, direct: S3Store, *, folder: Path) -> None:
    """Move a pointer twice; nobody else moves it, so `PointerMovedError` would be wrong."""
    tag = store.compare_and_set("pointers/new", SMALL, None)
    tag = store.compare_and_set("pointers/new", SMALL * 2, tag)
    found = direct.read_versioned("pointers/new")
    assert found is not None
    assert (found.data, found.tag) == (SMALL * 2, tag)


def move_again(store: S3Store, direct: S3Store, *, folder: Path) -> None:
    tag = direct.compare_and_set("pointers/new", SMALL, None)
    tag = store.compare_and_set("pointers/new", SMALL * 2, tag)
    found = direct.read_versioned("pointers/new")
    assert found is not None
    assert (found.data, found.tag) == (SMALL * 2, tag)


def read(store: S3Store, direct: S3Store, *, folder: Path) -> None:
    direct.put_if_absent("objects/old", SMALL)
    assert store.read("objects/old") == SMALL


def read_range(store: S3Store, direct: S3Store, *, folder: Path) -> None:
    direct.put_if_absent("objects/old", SMALL)
    assert store.read_range("objects/old", 3, 100) == SMALL[3:103]


def fetch(store: S3Store, direct: S3Store, *, folder: Path) -> None:
    direct.put_if_absent("objects/old", LARGE)
    store.fetch("objects/old", folder / "fetched")
    assert (folder / "fetched").read_bytes() == LARGE


def list_and_delete(store: S3Store, direct: S3Store, *, folder: Path) -> None:
    direct.put_if_absent("objects/old", SMALL)
    assert [each.key for each in store.list("objects/")] == ["objects/old"]
    assert store.delete("objects/old") is True
    assert direct.read_versioned("objects/old") is None


OPERATIONS: dict[str, tuple[Callable[..., None], str]] = {
    "open, first write": (open_place, "PUT .*probe"),
    "open, last write": (open_place, "PUT .*probe"),
    "put": (partial(put, data=SMALL), "PUT .*objects/new"),
    "head before put": (partial(put, data=SMALL), "HEAD .*objects/new"),
    "put in parts, begin": (partial(put, data=LARGE), "POST .*uploads"),
    "put in parts, a part": (partial(put, data=LARGE), "PUT .*partNumber=2"),
    "put in parts, complete": (partial(put, data=LARGE), "POST .*uploadId"),
    "make a pointer": (move, "PUT .*pointers/new"),
    "move a pointer": (move_again, "PUT .*pointers/new"),
    "read": (read, "GET .*objects/old"),
    "read a range": (read_range, "GET .*objects/old"),
    "fetch, size": (fetch, "HEAD .*objects/old"),
    "fetch": (fetch, "GET .*objects/old"),
    "list": (list_and_delete, "GET .*"),
    "delete": (list_and_delete, "DELETE .*objects/old"),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", HTTP_FAULTS)
def test_each_single_fault_is_overcome(
    fault: Fault, create_client: Callable[[str], S3Client], s3_endpoint: str, tmp_path: Path
) -> None:
    direct, found = new_client(s3_endpoint), dict[str, str]()
    prefixes = {name: f"faults/{uuid.uuid4().hex}" for name in OPERATIONS}
    patterns = {
        name: pattern.replace(" ", f" .*{Path(prefixes[name]).name}", 1) for name, (_, pattern) in OPERATIONS.items()
    }
    choices = [fail_once(fault, each, 4 if name == "open, last write" else 1) for name, each in patterns.items()]
    plan = FaultPlan(lambda request: next(filter(None, (choose(request) for choose in choices)), None), held_s=1.5)

    def run(name: str) -> None:
        (tmp_path / name).mkdir()
        one, other = (S3Store(each, BUCKET, prefixes[name], PART_BYTES) for each in (client, direct))
        try:
            OPERATIONS[name][0](one, other, folder=tmp_path / name)
        except (LakeError, AssertionError) as error:
            found[name] = repr(error)

    with FaultyHttp(parse_address(s3_endpoint), plan) as proxy, ThreadPoolExecutor(len(OPERATIONS)) as pool:
        client = create_client(proxy.endpoint)
        list(pool.map(run, OPERATIONS))
    assert found == {}
    assert plan.counted == {fault: len(OPERATIONS)}


def test_a_deletion_that_arrives_again_spares_a_newer_value(
    create_client: Callable[[str], S3Client], s3_endpoint: str
) -> None:
    prefix, plan = f"faults/{uuid.uuid4().hex}", FaultPlan(fail_once(Fault.AGAIN_LATER, "DELETE"))
    direct = S3Store(new_client(s3_endpoint), BUCKET, prefix)
    direct.compare_and_set("pointers/lease", b"of the first", None)
    with FaultyHttp(parse_address(s3_endpoint), plan) as proxy:
        assert S3Store(create_client(proxy.endpoint), BUCKET, prefix).delete("pointers/lease") is True
        direct.compare_and_set("pointers/lease", b"of the second", None)
        while not proxy.again:
            time.sleep(0.02)
    assert b"412" in proxy.again[0].partition(b"\r\n")[0]
    assert direct.read("pointers/lease") == b"of the second"


def test_a_value_that_changed_before_its_deletion_is_examined_again(s3_endpoint: str) -> None:
    store = S3Store(new_client(s3_endpoint), BUCKET, f"faults/{uuid.uuid4().hex}")
    store.compare_and_set("pointers/one", b"old", None)
    read_headers, started = store._read_headers, datetime.now(UTC)

    def read_and_replace(name: str) -> Any:
        found = read_headers(name)
        if found is not None and found["ContentLength"] == len(b"old"):
            store.compare_and_set("pointers/one", b"newer", found["ETag"])
        return found

    store._read_headers = read_and_replace  # type: ignore[method-assign]
    assert store.delete("pointers/one", unmodified_since=started + timedelta(hours=1)) is True
    assert store.delete("pointers/one") is False


@pytest.mark.slow
def test_many_faults_lose_and_double_no_move(
    create_client: Callable[[str], S3Client], s3_endpoint: str, tmp_path: Path
) -> None:
    """Two writers add tokens to one pointer, as ingest adds sessions to a day."""
    prefix, plan = f"faults/{uuid.uuid4().hex}", FaultPlan(fail_at_random(HTTP_FAULTS, 0.25, seed=1), 1.2, 0.2)
    name, tokens, failures = "recordings/2026-02-16", 20, Counter[str]()

    def add(lake: Lake, token: str) -> None:
        while True:
            try:
                seen = lake.read_pointer(name)
                present = seen.value["objects"] if seen else []
                object_id = lake.put_bytes(token.encode())
                if object_id in present:
                    return
                lake.move_pointer(name, {"objects": [*present, object_id]}, seen)
            except LakeError as error:
                failures[type(error).__name__] += 1
            else:
                return

    with FaultyHttp(parse_address(s3_endpoint), plan) as proxy, ThreadPoolExecutor(2) as pool:
        lakes = [Lake(S3Store(create_client(proxy.endpoint), BUCKET, prefix), tmp_path / "cache") for _ in range(2)]
        writers = [
            partial(lambda lake, writer, at: add(lake, f"{writer}-{at}"), lakes[each], each) for each in range(2)
        ]
        moves = [pool.submit(writers[number % 2], number) for number in range(2 * tokens)]
        for each in moves:
            each.result()
    direct = Lake(S3Store(new_client(s3_endpoint), BUCKET, prefix), tmp_path / "another cache")
    found = direct.read_pointer(name)
    assert found is not None
    stored = sorted(direct.get_bytes(each) for each in found.value["objects"])
    assert stored == sorted(f"{number % 2}-{number}".encode() for number in range(2 * tokens))
    assert len(plan.counted) == len(HTTP_FAULTS), plan.counted
    assert failures["PointerMovedError"] > 0, failures
