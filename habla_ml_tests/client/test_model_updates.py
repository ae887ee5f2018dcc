"""A device installs only what is signed, complete and newer; every attack on the CDN leaves the model that it has."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from habla_ml.client.channel_statement import StatedFile
from habla_ml.client.installed_models import InstalledModel
from habla_ml.client.problems import DamagedDownloadError, ServiceUnreachableError, UntrustedReleaseError
from habla_ml.client.signatures import count_valid_signatures
from habla_ml.client.trusted_keys import get_keys_path
from habla_ml.errors import InputError
from habla_ml.lake import DirectoryStore
from habla_ml.release.channel import Delivery
from habla_ml.release.keys import change_keys, create_keys
from habla_ml.release.moves import change_delivery, promote, renew_all_signatures, rollback
from habla_ml.release.publish import publish_release
from habla_ml.release.signing import Signing, SigningKey, generate_key, sign_value
from habla_ml_tests.testing.file_server import serve_folder
from habla_ml_tests.testing.release_drafts import NOON, make_draft, make_release_files
from habla_ml_tests.testing.updating_phone import DAY, LATEST, PhoneUnderTest, ReleaseOrigin


@pytest.fixture
def publisher(tmp_path: Path) -> ReleaseOrigin:
    found = ReleaseOrigin(tmp_path)
    found.publish("v1")
    return found


@pytest.fixture
def device(publisher: ReleaseOrigin, tmp_path: Path) -> Iterator[PhoneUnderTest]:
    with serve_folder(publisher.cdn) as address:
        phone = PhoneUnderTest(tmp_path / "device", address, publisher.shipped)
        yield phone
        phone.close()


def test_a_device_follows_releases_and_a_rollback_without_a_second_download(
    publisher: ReleaseOrigin, device: PhoneUnderTest
) -> None:
    assert device.update() == "v1"
    assert device.updater.check() is None
    publisher.publish("v2")
    assert device.update() == "v2"
    rollback(publisher.store, "stable", now=NOON, signing=publisher.signing)
    shutil.rmtree(publisher.cdn / "releases")
    assert device.update() == "v1"
    device.open()
    assert device.read_version() == "v1"


def test_a_model_that_does_not_load_is_left_for_the_one_before_and_not_installed_again(
    publisher: ReleaseOrigin, device: PhoneUnderTest
) -> None:
    device.update()
    publisher.publish("v2")
    device.update()
    device.updater.reject_current()
    assert device.read_version() == "v1"
    device.open()
    assert device.update() == "v1"
    publisher.publish("v3")
    assert device.update() == "v3"


def test_old_apps_other_platforms_and_devices_outside_the_share_wait(
    publisher: ReleaseOrigin, device: PhoneUnderTest
) -> None:
    device.update()
    publisher.publish("v2", minimum_app_version="1.5", rollout_percent=0)
    for client in ({}, {"app_version": "1.5"}, {"platform": "watch"}):
        device.open(**client)
        assert device.updater.check() is None
    device.open(app_version="1.5")
    change_delivery(publisher.store, "stable", 100, now=NOON, signing=publisher.signing)
    assert device.update() == "v2"


def test_a_release_of_another_channel_is_promoted_without_building_it_again(
    publisher: ReleaseOrigin, device: PhoneUnderTest
) -> None:
    publisher.publish("v2", "beta")
    files = sorted(each.key for each in publisher.store.list("releases/"))
    promote(publisher.store, "beta", "stable", Delivery(), NOON, signing=publisher.signing)
    assert sorted(each.key for each in publisher.store.list("releases/")) == files
    assert device.update() == "v2"


def test_a_signature_of_another_channel_does_not_count(publisher: ReleaseOrigin, device: PhoneUnderTest) -> None:
    publisher.publish("v2", "beta")
    shutil.copy(publisher.cdn / "channels/beta/latest.json", publisher.cdn / LATEST)
    with pytest.raises(UntrustedReleaseError, match="that of beta"):
        device.update()


def take_signature_away(data: bytes) -> bytes:
    return json.dumps({**json.loads(data), "signed": None}).encode()


ATTACKS: dict[str, tuple[Callable[[bytes], bytes], type[Exception], str]] = {
    "text changed": (lambda data: data.replace(b"2026.11.21-v2", b"2026.11.21-v9"), UntrustedReleaseError, "no key"),
    "signature taken away": (take_signature_away, UntrustedReleaseError, "not signed"),
    "cut off": (lambda data: data[:-9], UntrustedReleaseError, "damaged"),
    "huge": (lambda data: data + b" " * 5_000_000, DamagedDownloadError, "more than"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_changed_pointer_is_refused(publisher: ReleaseOrigin, device: PhoneUnderTest, attack: str) -> None:
    device.update()
    publisher.publish("v2")
    change, error, why = ATTACKS[attack]
    publisher.replace(LATEST, change)
    with pytest.raises(error, match=why):
        device.update()
    assert device.read_version() == "v1"


def change_archive(publisher: ReleaseOrigin, change: Callable[[bytes], bytes]) -> None:
    state = json.loads((publisher.cdn / LATEST).read_bytes())
    publisher.replace(state["models"]["habla"]["key"], change)


def test_archives_and_manifests_of_others_are_refused(publisher: ReleaseOrigin, device: PhoneUnderTest) -> None:
    device.update()
    publisher.publish("v2")
    good = json.loads((publisher.cdn / LATEST).read_bytes())
    changes: list[tuple[str, Callable[[bytes], bytes]]] = [
        (good["manifest_key"], lambda data: data.replace(b"v2", b"v3")),
        (good["manifest_key"], lambda _: next((publisher.cdn / "releases/v1").glob("manifest*")).read_bytes()),
        (good["models"]["habla"]["key"], lambda data: data[:-1] + b"x"),
        (good["models"]["habla"]["key"], lambda data: data + b"more"),
        (good["models"]["habla"]["key"], lambda data: data[: len(data) // 2]),
        (good["models"]["habla"]["key"], lambda _: next((publisher.cdn / "releases/v1").glob("*ctr*")).read_bytes()),
    ]
    for path, change in changes:
        before = (publisher.cdn / path).read_bytes()
        publisher.replace(path, change)
        with pytest.raises(DamagedDownloadError):
            device.update()
        assert device.read_version() == "v1"
        publisher.replace(path, lambda _, good=before: good)  # type: ignore[misc]
    assert device.update() == "v2"


def test_an_old_signed_pointer_is_refused_once_a_newer_one_was_seen(
    publisher: ReleaseOrigin, device: PhoneUnderTest
) -> None:
    old = (publisher.cdn / LATEST).read_bytes()
    publisher.publish("v2")
    device.update()
    publisher.replace(LATEST, lambda _: old)
    device.open()
    with pytest.raises(UntrustedReleaseError, match="move 1, and move 2 was seen"):
        device.update()


def test_a_frozen_channel_expires_and_a_renewal_goes_on(publisher: ReleaseOrigin, device: PhoneUnderTest) -> None:
    device.update()
    device.now = NOON + 91 * DAY
    with pytest.raises(UntrustedReleaseError, match=r"expired on 2027-02-19; check the device's clock"):
        device.update()
    renew_all_signatures(publisher.store, publisher.signing, NOON + 91 * DAY)
    assert device.update() == "v1"


def test_a_clock_that_is_a_year_behind_does_not_keep_an_expired_state_alive(
    publisher: ReleaseOrigin, device: PhoneUnderTest
) -> None:
    frozen = (publisher.cdn / LATEST).read_bytes()
    renew_all_signatures(publisher.store, publisher.signing, NOON + 100 * DAY)
    device.now = NOON - 365 * DAY
    assert device.update() == "v1"
    publisher.replace(LATEST, lambda _: frozen)
    with pytest.raises(UntrustedReleaseError, match="expired"):
        device.update()


def test_a_clock_that_is_years_ahead_installs_nothing_and_keeps_the_model(
    publisher: ReleaseOrigin, device: PhoneUnderTest
) -> None:
    device.update()
    publisher.publish("v2")
    device.now = NOON + 3 * 365 * DAY
    with pytest.raises(UntrustedReleaseError, match="clock"):
        device.update()
    device.now = NOON + DAY
    assert device.update() == "v2"


def test_a_key_is_replaced_without_a_new_app_and_the_old_one_counts_no_more(
    publisher: ReleaseOrigin, device: PhoneUnderTest
) -> None:
    device.update()
    stolen, new = publisher.key, generate_key()
    change_keys(publisher.store, [publisher.root], NOON, add={new.key_id: new.public_text})
    publisher.key = new
    renew_all_signatures(publisher.store, Signing((stolen, new), 90 * DAY), NOON)
    assert device.update() == "v1"
    change_keys(publisher.store, [publisher.root], NOON, revoke=[stolen.key_id])
    publisher.publish("v2")
    assert device.update() == "v2"
    publisher.key = stolen
    publisher.publish("v3")
    with pytest.raises(UntrustedReleaseError, match="no key that is trusted now"):
        device.update()
    assert device.read_version() == "v2"


def test_a_document_of_keys_that_no_known_root_signed_is_refused(
    publisher: ReleaseOrigin, device: PhoneUnderTest
) -> None:
    device.update()
    thief, key = generate_key(), generate_key()
    other = DirectoryStore(publisher.folder / "other")
    create_keys(other, thief, key, NOON)
    change_keys(other, [thief], NOON)
    (publisher.cdn / get_keys_path(2)).write_bytes(other.read(get_keys_path(2)))
    with pytest.raises(UntrustedReleaseError, match="not signed by a root key of version 1"):
        device.update()


def test_a_root_key_is_replaced_and_expired_keys_install_nothing(
    publisher: ReleaseOrigin, device: PhoneUnderTest
) -> None:
    new = generate_key()
    change_keys(publisher.store, [publisher.root], NOON, add_root=new)
    change_keys(publisher.store, [new], NOON, revoke=[publisher.root.key_id])
    assert device.update() == "v1"
    device.now = NOON + 800 * DAY
    renew_all_signatures(publisher.store, publisher.signing, device.now)
    with pytest.raises(UntrustedReleaseError, match="document of keys, version 3, expired"):
        device.update()
    change_keys(publisher.store, [new], device.now)
    assert device.update() == "v1"


def test_an_archive_with_files_outside_its_folder_is_refused(device: PhoneUnderTest, tmp_path: Path) -> None:
    device.update()
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("../../outside", b"x")
    file = StatedFile(path="../../outside", size_bytes=1, sha256=hashlib.sha256(b"x").hexdigest())
    model = InstalledModel(name="evil", version="evil", number=9, sha256="0" * 64)
    with pytest.raises(DamagedDownloadError, match="outside its folder"):
        device.updater.models.unpack(archive, [file], model, None)
    assert not (device.folder / "outside").exists()


def test_a_download_goes_on_where_it_was_cut_off(publisher: ReleaseOrigin, device: PhoneUnderTest) -> None:
    offer = device.updater.check()
    assert offer is not None
    data = (publisher.cdn / json.loads((publisher.cdn / LATEST).read_bytes())["models"]["habla"]["key"]).read_bytes()
    part = device.folder / "downloads" / offer.archive.sha256
    part.write_bytes(data[:200])
    change_archive(publisher, lambda data: b"\0" * 200 + data[200:])
    device.updater.install(offer)
    assert device.read_version() == "v1"


def test_a_cdn_that_is_away_changes_nothing(publisher: ReleaseOrigin, device: PhoneUnderTest, tmp_path: Path) -> None:
    device.update()
    with pytest.raises(InputError, match="wait until it ends"):
        PhoneUnderTest(device.folder, "http://127.0.0.1:9", publisher.shipped)
    device.close()
    away = PhoneUnderTest(device.folder, "http://127.0.0.1:9", publisher.shipped)
    with pytest.raises(ServiceUnreachableError):
        away.update()
    assert away.read_version() == "v1"


def test_the_same_file_of_two_models_is_kept_once(publisher: ReleaseOrigin, device: PhoneUnderTest) -> None:
    device.update()
    files = make_release_files(publisher.folder / "files", "v2")
    shutil.copy(publisher.folder / "files/v1/ctranslate2/sub/weights.bin", files["ctranslate2"] / "sub/weights.bin")
    publish_release(publisher.store, None, "stable", make_draft("v2"), files, NOON, signing=publisher.signing)
    first = device.updater.model_folder
    offer = device.updater.check()
    assert offer is not None
    second = device.updater.install(offer)
    assert first is not None
    assert (first / "sub/weights.bin").samefile(second / "sub/weights.bin")


def test_unsigned_channels_are_refused(tmp_path: Path) -> None:
    publisher = ReleaseOrigin(tmp_path)
    publish_release(publisher.store, None, "stable", make_draft("v1"), make_release_files(tmp_path, "v1"), NOON)
    with serve_folder(publisher.cdn) as address, pytest.raises(UntrustedReleaseError, match="not signed"):
        PhoneUnderTest(tmp_path / "device", address, publisher.shipped).update()


def test_a_key_never_counts_twice_and_a_signature_of_another_kind_never_counts(publisher: ReleaseOrigin) -> None:
    keys = {each.key_id: each.public_bytes for each in (publisher.key, publisher.root)}
    signed = sign_value("one", {"a": 1}, [publisher.key, publisher.key, SigningKey(publisher.root.private_key)])
    assert count_valid_signatures("one", signed, keys) == 2
    assert count_valid_signatures("other", signed, keys) == 0
