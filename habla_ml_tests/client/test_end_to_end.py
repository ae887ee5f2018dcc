"""The client plays the app against `habla-ml serve`: from the enrolment to the withdrawal, with the pipeline behind it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from habla_ml.annotation.event_log import read_events
from habla_ml.annotation.sources import collect_events
from habla_ml.client.back_off import BackOff
from habla_ml.client.connection import ServiceConnection
from habla_ml.client.device import DeviceClient
from habla_ml.client.model_updates import ModelUpdater, UpdateClient
from habla_ml.client.problems import ItemErasedError, NoConsentError, ServiceUnreachableError
from habla_ml.client.trusted_keys import get_keys_path
from habla_ml.client.upload import UploadReport
from habla_ml.erasure.erase import erase_withdrawn
from habla_ml.inbox.clip_files import open_clip_store
from habla_ml.inbox.database import Database, open_database
from habla_ml.inbox.devices import create_enrolment_code
from habla_ml.inbox.schema import DATA_POINTS
from habla_ml.inbox.unread_clips import find_unread_hours
from habla_ml.lake import Lake
from habla_ml.lake.factory import open_lake, open_store
from habla_ml.recordings.days import load_day
from habla_ml.recordings.segments import read_segment_metadata
from habla_ml.recordings.uploads import ingest_hour
from habla_ml.release.keys import open_signing
from habla_ml.release.publish import publish_release
from habla_ml.settings import Settings
from habla_ml_tests.testing.deployment_settings import PROJECT
from habla_ml_tests.testing.encoded_audio import encode_audio_file, make_pcm16_wav
from habla_ml_tests.testing.file_server import serve_folder
from habla_ml_tests.testing.habla_sessions import make_noise
from habla_ml_tests.testing.release_drafts import make_draft, make_release_files
from habla_ml_tests.testing.serve_process import ServeProcess

OFFLINE = "http://127.0.0.1:9"
RECORDED_AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DAY = "2026-03-02"


@dataclass(frozen=True)
class ServedPipeline:
    """The deployment of a server, as the pipeline sees it."""

    settings: Settings
    database: Database
    lake: Lake

    def make_code(self) -> str:
        return create_enrolment_code(self.database, "a phone", datetime.now(UTC), timedelta(hours=1))

    def ingest(self) -> int:
        """Bring all received clips and texts into the lake; return the number of new segments."""
        store, segments = open_clip_store(self.settings), 0
        for each in find_unread_hours(self.database):
            done = ingest_hour(each.hour, self.lake, self.database, store, self.settings, datetime.now(UTC))
            segments += done.segments
            assert (done.set_aside, done.waiting, done.refused, list(done.days)) == (0, 0, 0, [DAY])
        return segments

    def read_texts(self) -> dict[str, str]:
        """Collect the corrections of the day; return person → text of the newest one."""
        log = collect_events(self.lake, DAY, self.settings, datetime.now(UTC))
        events = sorted(read_events(self.lake, log), key=lambda each: each.created_at)
        return {each.person: each.text for each in events}

    def list_speakers(self) -> list[str]:
        """Return the speakers of the segments of the day."""
        published = load_day(self.lake, DAY)
        assert published is not None
        return sorted(row["speaker"] for row in read_segment_metadata(self.lake, published.metadata))

    def count_held(self) -> tuple[int, int]:
        """Return how many files and corrections the inbox has."""
        with self.database.read() as connection:
            texts = connection.execute(DATA_POINTS.select()).all()
        return len(list(open_clip_store(self.settings).list("clips/"))), len(texts)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServeProcess]:
    running = ServeProcess(
        tmp_path,
        consent={"documents": str(PROJECT / "configs" / "consents")},
        recordings={"folder": "recordings", "first_day": "2026-02-02"},
    )
    yield running
    running.stop()


@pytest.fixture
def pipeline(server: ServeProcess, tmp_path: Path) -> Iterator[ServedPipeline]:
    database = open_database(server.settings)
    yield ServedPipeline(server.settings, database, open_lake(server.settings.lake, tmp_path / "cache"))
    database.close()


def open_phone(url: str, tmp_path: Path) -> DeviceClient:
    return DeviceClient(url, tmp_path / "phone", "1.4.0", BackOff(attempts=2))


@pytest.mark.slow
def test_an_app_from_enrolment_to_withdrawal(server: ServeProcess, pipeline: ServedPipeline, tmp_path: Path) -> None:
    with open_phone(server.url, tmp_path) as phone:
        phone.enrol(pipeline.make_code())
        (text,) = [each for each in phone.list_consent_texts() if each.language == "es"]

    sounds = {"ana": encode_audio_file("m4a", 1.5), "leo": make_pcm16_wav(make_noise(1.0, seed=5))}
    with open_phone(OFFLINE, tmp_path) as phone:
        clips = {}
        for contributor, audio in sounds.items():
            phone.consent(text, contributor, minor=True, guardian=True)
            clips[contributor] = phone.record(audio, "3A", contributor, RECORDED_AT)
        phone.correct(clips["leo"], "vamo a la playa", seenText="vamo a la playa")
        with pytest.raises(ServiceUnreachableError):
            phone.upload()

    with open_phone(server.url, tmp_path) as phone:
        assert phone.upload() == UploadReport(recordings=2, data_points=1, refused=0, consents=2)
        assert pipeline.ingest() == 2
        assert pipeline.read_texts() == {"leo": "vamo a la playa"}
        phone.correct(clips["leo"], "Vamos a la playa.", seenText="vamo a la playa")
        phone.correct(clips["ana"], "Ayer comimos en casa.", seenText="ayer comimo en casa")
        assert phone.upload() == UploadReport(recordings=0, data_points=2, refused=0)
        assert pipeline.read_texts() == {"leo": "Vamos a la playa.", "ana": "Ayer comimos en casa."}
        assert pipeline.list_speakers() == ["ana", "leo"]
        install_release(phone, pipeline, tmp_path)
        withdraw_one_of_two(phone, pipeline, clips["ana"], sounds["ana"], server.url, tmp_path)


def install_release(phone: DeviceClient, pipeline: ServedPipeline, tmp_path: Path) -> None:
    """Release a version; the phone is offered it, verifies and installs it, and is offered nothing after that."""
    store, files = open_store(pipeline.settings.release.store), make_release_files(tmp_path, "v2")
    with serve_folder(tmp_path / "cdn") as cdn:
        signing = open_signing(pipeline.settings, store, datetime.now(UTC))
        publish_release(store, cdn, "stable", make_draft("v2"), files, signing=signing)
        model = phone.find_update("ios", current="an earlier one")
        assert model is not None
        client = UpdateClient(phone.get_installation(), "1.4.0", "ios")
        updater = ModelUpdater(cdn, tmp_path / "models", client, store.read(get_keys_path(1)))
        offer = updater.check()
        assert offer is not None
        assert (offer.statement.version, offer.archive.sha256) == (model.version, model.sha256)
        folder = updater.install(offer)
        updater.close()
    assert (folder / "sub" / "weights.bin").read_bytes() == b"coreml v2" * 1000
    assert phone.find_update("ios", current=model.version) is None


def withdraw_one_of_two(
    phone: DeviceClient, pipeline: ServedPipeline, clip: str, audio: bytes, url: str, tmp_path: Path
) -> None:
    """Withdraw the consent of one contributor; nothing of that one is left or comes back, and the other's stays."""
    held = phone.read_contributor("ana")
    assert (held.stands, held.clips, held.corrections, held.segments) == (True, 1, 1, 1)
    assert pipeline.count_held() == (2, 3)
    reply = phone.withdraw("ana")
    assert reply is not None
    assert (reply.stands, reply.erasedAt) == (False, None)
    assert {each.sent.correctedTranscription for each in phone.queue.list_data_points()} == {
        "vamo a la playa",
        "Vamos a la playa.",
    }
    send_again = ServiceConnection(url, phone.queue.read_value("token"), BackOff(attempts=1))
    (tmp_path / "copy").write_bytes(audio)
    resend = (tmp_path / "copy", hashlib.sha256(audio).hexdigest(), "3A", "ana", RECORDED_AT)

    erased, _ = erase_withdrawn(pipeline.lake, pipeline.settings, datetime.now(UTC))
    assert erased == 1
    assert pipeline.count_held() == (1, 2)
    assert pipeline.list_speakers() == ["leo"]
    assert pipeline.read_texts() == {"leo": "Vamos a la playa."}
    with send_again:
        with pytest.raises(ItemErasedError):
            send_again.put_clip(clip, *resend)
        with pytest.raises(NoConsentError):
            send_again.put_clip("3f2b8c1e-9d41-4b7a-8a54-0c2f6f1d7e90", *resend)
    held = phone.read_contributor("ana")
    assert (held.stands, held.clips, held.corrections, held.segments, held.erasedSegments) == (False, 0, 0, 0, 1)
    assert phone.read_contributor("leo").clips == 1
    repeated = phone.withdraw("ana")
    assert repeated is not None
    assert repeated.erasedAt is not None
