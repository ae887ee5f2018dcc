"""Enrolment, tokens, limits and bounded bodies, as a client sees them."""

import base64
import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import Request

from habla_ml.inbox.devices import create_enrolment_code, revoke_device
from habla_ml.service.access import CurrentDevice
from habla_ml.service.bodies import receive_body
from habla_ml.service.limits import charge_bytes
from habla_ml_tests.testing.service_client import ServiceUnderTest

LARGEST_BYTES = 2_500_000


@pytest.fixture
def service(tmp_path: Path) -> ServiceUnderTest:
    return start(tmp_path)


def start(folder: Path, **uploads: float) -> ServiceUnderTest:
    service = ServiceUnderTest(
        folder, {"uploads": {"largest_clip_bytes": 1_000, "largest_body_bytes": 2_000, **uploads}}
    )
    add_routes(service, folder)
    return service


def add_routes(service: ServiceUnderTest, folder: Path) -> None:
    @service.app.get("/test/device")
    def read_label(device: CurrentDevice) -> str:
        return device.label

    @service.app.put("/test/file")
    async def receive(request: Request) -> list[str]:
        body = await receive_body(request, folder / "incoming", LARGEST_BYTES, 3.0)
        kept = body.content if isinstance(body.content, bytes) else body.content.read_bytes()
        return [type(body.content).__name__, hashlib.sha256(kept).hexdigest(), body.sha256, str(body.size_bytes)]

    @service.app.post("/test/bytes/{size}")
    def charge(size: int, device: CurrentDevice) -> None:
        charge_bytes(service.state, device, size)


def digest_of(content: bytes) -> dict[str, str]:
    return {"Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"}


def test_a_code_gives_a_token_once(service: ServiceUnderTest) -> None:
    code = create_enrolment_code(service.state.database, "aula 3", service.now, timedelta(hours=1))
    answer = service.client.post("/v1/devices", json={"code": code})
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    headers = {"Authorization": f"Bearer {answer.json()['token']}"}
    assert service.client.get("/test/device", headers=headers).json() == answer.json()["label"] == "aula 3"
    again = service.client.post("/v1/devices", json={"code": code})
    assert (again.status_code, again.json()["type"]) == (401, "/problems/unauthenticated")


def test_missing_wrong_revoked_and_expired_tokens_have_the_same_answer(service: ServiceUnderTest) -> None:
    revoked, expired = service.enrol(), service.enrol()
    revoke_device(service.state.database, revoked.device.device_id, service.now)
    answers = []
    for value in (None, "Bearer x", f"Bearer {revoked.token}", f"Basic {revoked.token}", f"Bearer {expired.token}"):
        if value is not None and expired.token in value:
            service.now += timedelta(days=30)
        headers = {} if value is None else {"Authorization": value}
        answers.append(service.client.get("/test/device", headers=headers))
    assert {each.status_code for each in answers} == {401}
    assert len({each.content for each in answers}) == 1
    assert {each.headers["www-authenticate"] for each in answers} == {"Bearer"}


def test_codes_of_an_address_with_many_wrong_ones_are_not_tried(service: ServiceUnderTest) -> None:
    code = create_enrolment_code(service.state.database, "a phone", service.now, timedelta(hours=1))
    statuses = [service.client.post("/v1/devices", json={"code": f"{each}"}).status_code for each in range(21)]
    assert statuses == [401] * 20 + [429]
    refused = service.client.post("/v1/devices", json={"code": code})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "900")
    assert service.make_client("192.0.2.2").post("/v1/devices", json={"code": code}).status_code == 201


def test_wrong_tokens_do_not_lock_out_a_device_of_the_same_school(service: ServiceUnderTest) -> None:
    wrong = {"Authorization": "Bearer x"}
    statuses = [service.client.get("/test/device", headers=wrong).status_code for _ in range(21)]
    assert statuses == [401] * 20 + [429]
    assert service.client.get("/test/device", headers=service.authorise()).status_code == 200


def test_wrong_codes_from_one_ipv6_network_count_together(service: ServiceUnderTest) -> None:
    for each in range(20):
        service.make_client(f"2001:db8:1:2::{each:x}").post("/v1/devices", json={"code": "x"})
    for address, status in (("2001:db8:1:2:ffff::1", 429), ("2001:db8:1:3::1", 401)):
        assert service.make_client(address).post("/v1/devices", json={"code": "x"}).status_code == status


@pytest.mark.long
def test_a_device_above_its_rate_waits_for_the_next_minute(tmp_path: Path) -> None:
    service = start(tmp_path, device_requests_per_minute=3)
    headers, other = service.authorise(), service.authorise()
    answers = [service.client.get("/test/device", headers=headers) for _ in range(4)]
    assert [each.status_code for each in answers] == [200, 200, 200, 429]
    assert (answers[3].headers["retry-after"], answers[3].json()["retryable"]) == ("60", True)
    assert service.client.get("/test/device", headers=other).status_code == 200
    service.now += timedelta(seconds=60)
    assert service.client.get("/test/device", headers=headers).status_code == 200


def test_an_address_above_its_rate_is_refused_on_every_route_of_the_api(tmp_path: Path) -> None:
    service = start(tmp_path, address_requests_per_minute=2)
    statuses = [service.client.post("/v1/devices", json={"code": "x"}).status_code for _ in range(3)]
    assert statuses == [401, 401, 429]
    assert service.client.get("/healthz").status_code == 200


def test_a_device_above_its_quota_waits_for_the_next_day(tmp_path: Path) -> None:
    service = start(tmp_path, device_megabytes_per_day=0.001)
    headers = service.authorise()
    assert service.client.post("/test/bytes/1000", headers=headers).status_code == 200
    refused = service.client.post("/test/bytes/1", headers=headers)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, str(int(17.5 * 3600)))


@pytest.mark.parametrize(("size", "kept_as"), [(1, "bytes"), (5_000, "bytes"), (LARGEST_BYTES, "PosixPath")])
def test_a_body_is_received_with_its_digest(service: ServiceUnderTest, size: int, kept_as: str) -> None:
    content = b"x" * size
    answer = service.client.put("/test/file", content=content, headers=digest_of(content))
    sha256 = hashlib.sha256(content).hexdigest()
    assert answer.json() == [kept_as, sha256, sha256, str(size)]


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({}, "bad-request"),
        ({"Content-Digest": "sha-256=:AAAA:"}, "bad-request"),
        ({"Content-Digest": "sha-256=AAAA"}, "bad-request"),
        ({"Content-Digest": "sha-256=:=:"}, "bad-request"),
        ({"Content-Digest": "sha-512=:AAAA:"}, "bad-request"),
        (digest_of(b"another"), "digest-mismatch"),
        ({**digest_of(b"body"), "Content-Length": "3"}, "bad-request"),
    ],
)
def test_a_body_without_its_digest_or_length_leaves_nothing(
    service: ServiceUnderTest, tmp_path: Path, headers: dict[str, str], name: str
) -> None:
    answer = service.client.put("/test/file", content=b"body", headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (400, f"/problems/{name}")
    assert not (tmp_path / "incoming").exists() or not list((tmp_path / "incoming").iterdir())


def test_a_body_of_unknown_or_wrong_length_is_cut_at_the_bound(service: ServiceUnderTest, tmp_path: Path) -> None:
    def send() -> Iterator[bytes]:
        yield from (b"x" * 500_000 for _ in range(6))

    for headers in ({}, {"Content-Length": "10"}):
        answer = service.client.put("/test/file", content=send(), headers={**digest_of(b"x" * 3_000_000), **headers})
        assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large")
        assert not list((tmp_path / "incoming").glob("*"))


def test_other_bodies_are_bounded_too(service: ServiceUnderTest) -> None:
    answer = service.client.post("/v1/devices", json={"code": "x" * 2_000})
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large")
