"""Two machines behind one address: each has a folder and a process of its own, and both share PostgreSQL and a bucket."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from habla_ml.client.back_off import BackOff
from habla_ml.client.connection import ServiceConnection
from habla_ml.client.problems import NoConsentError
from habla_ml.client.wire import SentConsent
from habla_ml.inbox.clip_files import open_clip_store
from habla_ml.inbox.unread_clips import find_unread_hours
from habla_ml.lake.factory import open_lake
from habla_ml.recordings.uploads import ingest_hour
from habla_ml_tests.testing.encoded_audio import make_pcm16_wav
from habla_ml_tests.testing.habla_sessions import make_noise
from habla_ml_tests.testing.s3_clients import BUCKET, CREDENTIALS
from habla_ml_tests.testing.served_deployment import ServedDeployment, serve_deployment


@pytest.fixture
def machines(
    tmp_path: Path,
    make_postgres_section: Callable[[], dict[str, str]],
    s3_endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[list[ServedDeployment]]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    inbox = {"url": f"s3://{BUCKET}/{uuid4().hex}", "endpoint_url": s3_endpoint}
    section = {**make_postgres_section(), "inbox": inbox}
    with ExitStack() as stack:
        opened = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            opened.append(stack.enter_context(serve_deployment(tmp_path / name, service=section)))
        yield opened


@pytest.fixture
def phones(machines: list[ServedDeployment]) -> Iterator[list[ServiceConnection]]:
    """One device, as it reaches each machine."""
    with ExitStack() as stack:
        connections = [stack.enter_context(ServiceConnection(each.url, retry=BackOff(attempts=1))) for each in machines]
        connections[1].token = connections[0].enrol(machines[0].make_code(), "k" * 43).token
        yield connections


def make_consent(phone: ServiceConnection) -> SentConsent:
    text = phone.list_consent_texts()[0]
    return SentConsent(
        id=str(uuid4()),
        contributor="c-1",
        document=text.document,
        documentVersion=text.version,
        documentDigest=text.digest,
        minor=False,
        guardian=False,
        givenAt=datetime.now(UTC),
    )


def send(phone: ServiceConnection, clip_id: str, path: Path) -> str:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return phone.put_clip(clip_id, path, sha256, "3A lengua", "C-1", None).status


def read_clips(machine: ServedDeployment) -> int:
    """Read all unread clips into the lake of a machine; return how many have become segments."""
    lake = open_lake(machine.settings.lake, machine.settings.work_folder)
    store, now = open_clip_store(machine.settings), datetime.now(UTC)
    hours = find_unread_hours(machine.database)
    return sum(ingest_hour(each.hour, lake, machine.database, store, machine.settings, now).segments for each in hours)


@pytest.mark.slow
def test_machines_share_devices_consents_clips_and_withdrawals(
    machines: list[ServedDeployment], phones: list[ServiceConnection], tmp_path: Path
) -> None:
    paths = [tmp_path / f"{number}.wav" for number in range(4)]
    for number, path in enumerate(paths):
        path.write_bytes(make_pcm16_wav(make_noise(seed=number)))
    consent = make_consent(phones[0])
    with ThreadPoolExecutor(8) as pool:
        recorded = list(pool.map(lambda number: phones[number % 2].record_consent(consent), range(8)))
    assert all(each.stands and each.id == consent.id for each in recorded)

    assert [send(phone, str(uuid4()), path) for phone, path in zip(phones, paths, strict=False)] == ["stored"] * 2
    same = str(uuid4())
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda number: send(phones[number % 2], same, paths[2]), range(8)))
    assert sorted(statuses) == ["held"] * 7 + ["stored"]
    assert len(machines[1].list_files()) == len(machines[1].list_clips()) == 3
    assert read_clips(machines[0]) == 3
    assert read_clips(machines[1]) == 0

    assert phones[1].withdraw_consent(consent.id).withdrawnAt is not None
    for phone in phones:
        with pytest.raises(NoConsentError):
            send(phone, str(uuid4()), paths[3])
    assert len(machines[0].list_files()) == len(machines[0].list_clips()) == 3
