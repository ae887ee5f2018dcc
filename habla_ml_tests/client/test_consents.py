"""Consents and withdrawals of a device, against a real server."""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from habla_ml.client.back_off import BackOff
from habla_ml.client.device import DeviceClient
from habla_ml.client.problems import (
    ServiceUnreachableError,
    UnknownItemError,
    UnknownRecordingError,
    UnrecordedConsentError,
    WithdrawnConsentError,
)
from habla_ml.client.upload import UploadReport
from habla_ml.client.wire import OfferedConsentText
from habla_ml.inbox.consents import mark_erased, withdraw_consents
from habla_ml.inbox.devices import revoke_device
from habla_ml_tests.testing.received_consents import give_consent
from habla_ml_tests.testing.served_deployment import ServedDeployment

NOTHING = UploadReport(0, 0, 0)


@pytest.fixture(scope="module")
def text(server: ServedDeployment, tmp_path_factory: pytest.TempPathFactory) -> OfferedConsentText:
    with DeviceClient(server.url, tmp_path_factory.mktemp("reader"), "1.0") as reader:
        reader.enrol(server.make_code())
        (spanish,) = [each for each in reader.list_consent_texts() if each.language == "es"]
    return spanish


def search_folder(folder: Path, words: bytes) -> list[str]:
    return [each.name for each in folder.rglob("*") if each.is_file() and words in each.read_bytes()]


def list_audio(folder: Path) -> list[str]:
    return sorted(each.name for each in (folder / "phone" / "clips").iterdir())


def go_offline(device: DeviceClient, folder: Path) -> DeviceClient:
    """Return the same device, whose network is down."""
    device.close()
    return DeviceClient("http://127.0.0.1:9", folder / "phone", "1.0", BackOff(attempts=1))


def go_online(device: DeviceClient, server: ServedDeployment, folder: Path) -> DeviceClient:
    """Return the same device, whose network is back."""
    device.close()
    return DeviceClient(server.url, folder / "phone", "1.0", BackOff(attempts=1))


def test_the_texts_are_those_that_the_service_offers(text: OfferedConsentText) -> None:
    assert (text.document, text.version, len(text.digest)) == ("voice", 1, 64)
    assert text.title in text.text


def test_a_consent_that_was_given_offline_is_sent_before_the_clip(
    server: ServedDeployment, device: DeviceClient, tmp_path: Path, text: OfferedConsentText
) -> None:
    with go_offline(device, tmp_path) as offline:
        offline.consent(text, "k-1")
        clip = offline.record(b"an offline clip", "3A", "K-1")
        offline.correct(clip, "sin red")
        with pytest.raises(ServiceUnreachableError):
            offline.upload()
    with go_online(device, server, tmp_path) as online:
        assert online.upload() == UploadReport(recordings=1, data_points=1, refused=0, consents=1)
        assert online.upload() == NOTHING
        record = online.read_contributor("k-1")
    assert (record.contributor, record.stands, record.clips, record.corrections) == ("k-1", True, 1, 1)


def test_clips_without_consent_wait_and_are_sent_after_the_consent(
    server: ServedDeployment, device: DeviceClient, tmp_path: Path, text: OfferedConsentText
) -> None:
    give_consent(server.database, "k-2")
    waiting = [device.record(b"no consent %d" % n, "3A", name) for n, name in enumerate(("k-3", "K-3", "k-4"))]
    device.record(b"with consent", "3A", "k-2")
    device.correct(waiting[0], "adiós")
    first = UploadReport(recordings=1, data_points=0, refused=0, without_consent=frozenset({"k-3", "k-4"}))
    assert device.upload() == first
    assert list_audio(tmp_path) == sorted(waiting)
    assert device.queue.list_refused_recordings() == {}
    device.consent(text, "k-3", minor=True)
    assert device.upload().without_consent == {"k-3", "k-4"}
    give_consent(server.database, "k-4")  # a person records it on the page
    device.consent(text, "k-3", minor=True, guardian=True)
    assert device.upload() == UploadReport(recordings=3, data_points=1, refused=0, consents=1)
    assert list_audio(tmp_path) == []


def test_a_clip_of_no_contributor_is_refused_where_a_consent_is_required(device: DeviceClient) -> None:
    clip = device.record(b"whose voice", "3A")
    assert device.upload() == UploadReport(0, 0, refused=1)
    assert device.queue.list_refused_recordings() == {clip: "/problems/no-consent"}


def test_a_consent_that_is_refused_stops_no_other(
    server: ServedDeployment, device: DeviceClient, text: OfferedConsentText
) -> None:
    give_consent(server.database, "k-5")  # a pseudonym that is used elsewhere
    device.consent(text, "k-5")
    device.consent(text.model_copy(update={"digest": "0" * 64}), "k-6")
    device.consent(text, "k-7")
    assert device.upload() == UploadReport(0, 0, refused=2, consents=1)
    refusals = [device.queue.consents.list_of_contributor(name)[0].refusal for name in ("k-5", "k-6", "k-7")]
    assert refusals == ["/problems/forbidden", "/problems/not-found", None]
    assert device.upload() == NOTHING


def test_no_clip_is_sent_under_the_consent_of_another_person_with_the_same_pseudonym(
    server: ServedDeployment, device: DeviceClient, tmp_path: Path, text: OfferedConsentText
) -> None:
    with DeviceClient(server.url, tmp_path / "other school", "1.0") as other:
        other.enrol(server.make_code())
        other.consent(text, "k-20")
        other.record(b"their voice", "3A", "k-20")
        other.upload()
        device.consent(text, "K-20")
        device.record(b"our voice", "3A", "K-20")
        report = device.upload()
        assert (report.recordings, report.without_consent) == (0, {"K-20"})
        assert other.read_contributor("k-20").clips == 1
    device.consent(text, "k-21")
    device.record(b"our voice again", "3A", "k-21")
    assert device.upload().recordings == 1


def test_a_withdrawal_leaves_nothing_of_the_voice_on_the_device_nor_sends_it(
    server: ServedDeployment, device: DeviceClient, tmp_path: Path, text: OfferedConsentText
) -> None:
    device.consent(text, "k-8")
    device.consent(text, "k-9")
    sent = device.record(b"sound of the first clip", "3A", "k-8")
    device.correct(sent, "la merienda de Remedios")
    device.upload()
    unsent = device.record(b"sound of the second clip", "3A", "k-8")
    device.correct(sent, "la merienda otra vez")
    device.correct(unsent, "una merienda nunca enviada")
    other = device.record(b"another voice", "3A", "k-9")
    assert search_folder(tmp_path / "phone", b"merienda") != []
    before = server.list_clips()
    reply = device.withdraw("K-8")
    assert reply is not None
    assert (reply.stands, reply.withdrawnAt is None, reply.erasedAt) == (False, False, None)
    for words in (b"merienda", b"sound of"):
        assert search_folder(tmp_path / "phone", words) == []
    assert list_audio(tmp_path) == [other]
    with pytest.raises(WithdrawnConsentError, match="new consent"):
        device.record(b"a third clip", "3A", "k-8")
    with pytest.raises(UnknownRecordingError, match=unsent):
        device.correct(unsent, "tarde")
    assert device.upload() == UploadReport(recordings=1, data_points=0, refused=0)
    assert len(server.list_clips()) == len(before) + 1
    assert "la merienda otra vez" not in server.list_texts()
    assert not device.read_contributor("k-8").stands


def test_a_withdrawal_without_a_network_deletes_at_once_and_is_sent_later(
    server: ServedDeployment, device: DeviceClient, tmp_path: Path, text: OfferedConsentText
) -> None:
    device.consent(text, "k-10")
    device.record(b"sent", "3A", "k-10")
    device.upload()
    with go_offline(device, tmp_path) as offline:
        offline.record(b"never sent", "3A", "k-10")
        with pytest.raises(ServiceUnreachableError):
            offline.withdraw("k-10")
        assert list_audio(tmp_path) == []
    with go_online(device, server, tmp_path) as online:
        assert online.read_contributor("k-10").stands
        assert online.upload() == NOTHING
        assert not online.read_contributor("k-10").stands
        assert online.queue.consents.list_waiting_withdrawals() == []
        again = online.withdraw("k-10")
        assert again is not None
        assert again.withdrawnAt is not None


def test_a_consent_after_a_withdrawal_waits_for_the_erasure(
    server: ServedDeployment, device: DeviceClient, text: OfferedConsentText
) -> None:
    device.consent(text, "k-11")
    device.upload()
    device.withdraw("k-11")
    device.consent(text, "k-11")
    clip = device.record(b"after a new consent", "3A", "k-11")
    assert device.upload() == UploadReport(0, 0, 0, without_consent=frozenset({"k-11"}))
    assert [each.id for each in device.queue.list_waiting_recordings()] == [clip]
    assert len(device.queue.consents.list_waiting()) == 1


def test_a_withdrawal_on_the_page_reaches_what_waits_on_the_device(
    server: ServedDeployment, device: DeviceClient, tmp_path: Path, text: OfferedConsentText
) -> None:
    device.consent(text, "k-12")
    sent = device.record(b"sent", "3A", "k-12")
    device.upload()
    with server.database.write() as connection:
        withdraw_consents(connection, "k-12", datetime.now(UTC))
    device.correct(sent, "una frase")
    device.correct(sent, "otra frase")
    assert device.upload() == UploadReport(0, 0, 0, without_consent=frozenset({"k-12"}))
    assert device.queue.list_data_points() == []
    with pytest.raises(WithdrawnConsentError):
        device.record(b"later", "3A", "k-12")
    assert "una frase" not in server.list_texts()
    assert device.upload() == NOTHING


def test_a_new_consent_after_a_withdrawal_on_the_page_keeps_what_waits_on_the_device(
    server: ServedDeployment, device: DeviceClient, text: OfferedConsentText
) -> None:
    device.consent(text, "k-18")
    device.upload()
    with server.database.write() as connection:
        withdraw_consents(connection, "k-18", datetime.now(UTC))
    device.consent(text, "k-18")
    device.record(b"after the second consent", "3A", "k-18")
    assert device.upload() == UploadReport(0, 0, 0, without_consent=frozenset({"k-18"}))
    with server.database.write() as connection:
        mark_erased(connection, "k-18", datetime.now(UTC))
    assert device.upload() == UploadReport(recordings=1, data_points=0, refused=0, consents=1)


def test_a_withdrawal_of_a_consent_of_another_device_is_an_error_after_the_deletion(
    server: ServedDeployment, device: DeviceClient, tmp_path: Path, text: OfferedConsentText
) -> None:
    give_consent(server.database, "k-13")
    device.record(b"a voice of the page", "3A", "k-13")
    with pytest.raises(UnrecordedConsentError, match="page of the service"):
        device.withdraw("k-13")
    assert list_audio(tmp_path) == []
    device.consent(text, "k-14")
    device.upload()
    token = device.queue.read_value("token")
    assert token is not None
    revoke_device(server.database, str(UUID(token.split("_")[1])), datetime.now(UTC))
    device.enrol(server.make_code())  # the consent stays with the revoked device
    with pytest.raises(UnrecordedConsentError):
        device.withdraw("k-14")
    with pytest.raises(UnknownItemError):
        device.read_contributor("k-14")


def test_a_consent_that_was_never_sent_is_withdrawn_on_the_device_alone(
    server: ServedDeployment, device: DeviceClient, text: OfferedConsentText
) -> None:
    device.consent(text, "k-15")
    assert device.withdraw("k-15") is None
    assert device.upload() == NOTHING
    with pytest.raises(UnknownItemError):
        device.read_contributor("k-15")


def test_a_contributor_gets_a_copy_of_everything(
    server: ServedDeployment, device: DeviceClient, tmp_path: Path, text: OfferedConsentText
) -> None:
    device.consent(text, "ñ 16")
    device.correct(device.record(b"the clip's bytes", "3A", "ñ 16"), "un texto")
    device.upload()
    device.export_contributor("ñ 16", tmp_path / "copy.zip")
    with zipfile.ZipFile(io.BytesIO((tmp_path / "copy.zip").read_bytes())) as archive:
        assert archive.testzip() is None
        assert [archive.read(name) for name in archive.namelist() if name.startswith("clips/")] == [b"the clip's bytes"]
        assert "un texto" in archive.read("corrections.jsonl").decode()
