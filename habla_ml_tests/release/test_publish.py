"""Releases and rollbacks on a folder and on an S3 server."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from habla_ml.code_identity import read_code_identity
from habla_ml.errors import ExportError, LakeError, ReleaseError
from habla_ml.lake import DirectoryStore, Store, to_canonical_json
from habla_ml.release.manifest import ReleaseDraft, read_manifest
from habla_ml.release.moves import rollback
from habla_ml.release.publish import publish_release
from habla_ml.release.published import PublishedRelease, list_releases
from habla_ml_tests.testing.release_drafts import NOON, make_draft, make_release_files

ADDRESS = "https://models.example.org/habla/"


def latest(store: Store, channel: str = "stable") -> dict[str, object]:
    found: dict[str, object] = json.loads(store.read(f"channels/{channel}/latest.json"))
    return found


def publish(store: Store, folder: Path, version: str, day: int = 0, content: str = "") -> PublishedRelease:
    files = make_release_files(folder, version, content)
    return publish_release(store, ADDRESS, "stable", make_draft(version), files, NOON + timedelta(days=day))


def current(store: Store) -> str:
    [found] = [each.version for each in list_releases(store, "stable") if each.is_current]
    assert found == latest(store)["version"]
    return found


def test_a_release_is_archives_a_manifest_and_a_pointer(
    store: Store, draft: ReleaseDraft, files: Mapping[str, Path]
) -> None:
    released = publish_release(store, ADDRESS, "stable", draft, files, NOON)
    coreml = files["coreml"].read_bytes()
    digest = hashlib.sha256(coreml).hexdigest()
    key = f"releases/v2/habla-coreml-v2-{digest[:12]}.zip"
    assert store.read(key) == coreml
    found = latest(store)
    offered: dict[str, dict[str, object]] = found.pop("models")  # type: ignore[assignment]
    assert found == {
        "format": "habla_ml.channel/2",
        "channel": "stable",
        "sequence": 1,
        "move": "release",
        "moved_at": "2026-11-21T12:00:00Z",
        "signed_at": "2026-11-21T12:00:00Z",
        "expires_at": "2027-02-19T12:00:00Z",
        "released_at": "2026-11-21T12:00:00Z",
        "version": "2026.11.21-v2",
        "number": 1,
        "model_id": "habla-andalusian",
        "model_version": "v2",
        "replaces": None,
        "minimum_app_version": None,
        "rollout_percent": 100,
        "critical": False,
        "manifest_url": f"https://models.example.org/habla/{released.manifest_key}",
        "manifest_key": released.manifest_key,
        "manifest_sha256": hashlib.sha256(store.read(released.manifest_key)).hexdigest(),
        "signed": None,
    }
    assert (offered.keys(), offered["habla"]["format"]) == ({"ios", "habla"}, "ctranslate2")
    assert offered["ios"] == {
        "label": "coreml",
        "format": "mlpackage",
        "url": f"https://models.example.org/habla/{key}",
        "key": key,
        "sha256": digest,
        "size_bytes": len(coreml),
        "minimum_os_version": "16.0",
    }
    assert (released.is_current, released.released_at) == (True, NOON)
    assert released.locations["ios"] == f"{store.url}/{key}"


def test_the_manifest_lists_contents_and_evaluation(
    store: Store, draft: ReleaseDraft, files: Mapping[str, Path], tmp_path: Path
) -> None:
    released = publish_release(store, ADDRESS, "stable", draft, files, NOON)
    manifest = read_manifest(store, released.manifest_key)
    assert manifest.model_dump(include=set(ReleaseDraft.model_fields) - {"archives"}) == draft.model_dump(
        exclude={"archives"}
    )
    assert (manifest.version, manifest.number, manifest.channel) == ("2026.11.21-v2", 1, "stable")
    assert manifest.code == read_code_identity()
    for archive in manifest.archives:
        store.fetch(archive.key, tmp_path / "archive.zip")
        with zipfile.ZipFile(tmp_path / "archive.zip") as content:
            assert [each.path for each in archive.files] == content.namelist() == ["config.json", "sub/weights.bin"]
            for each in archive.files:
                data = content.read(each.path)
                assert (len(data), hashlib.sha256(data).hexdigest()) == (each.size_bytes, each.sha256)
    assert [each.label for each in manifest.archives] == ["coreml", "ctranslate2"]


def test_a_repeated_release_returns_the_first_result_and_writes_nothing(store: Store, tmp_path: Path) -> None:
    first = publish(store, tmp_path, "v2")
    before = {each.key: store.read(each.key) for each in store.list("")}
    assert publish(store, tmp_path, "v2", day=3) == first
    assert {each.key: store.read(each.key) for each in store.list("")} == before


def test_a_later_release_moves_the_channel_and_increases_the_number(store: Store, tmp_path: Path) -> None:
    publish(store, tmp_path, "v1")
    second = publish(store, tmp_path, "v2", day=7)
    assert (second.version, second.number, second.replaces) == ("2026.11.28-v2", 2, "2026.11.21-v1")
    listed = list_releases(store, "stable")
    assert [(each.version, each.number, each.is_current) for each in listed] == [
        ("2026.11.28-v2", 2, True),
        ("2026.11.21-v1", 1, False),
    ]


def test_two_releases_of_one_version_on_one_day_have_two_names(store: Store, tmp_path: Path) -> None:
    publish(store, tmp_path, "v2")
    assert publish(store, tmp_path, "v2", content="again").version == "2026.11.21-v2.2"
    assert publish(store, tmp_path, "v2", content="and again").version == "2026.11.21-v2.3"


@pytest.mark.parametrize(("address", "start"), [(None, ""), (ADDRESS, f"{ADDRESS}releases/v2/")])
def test_two_folders_are_two_archives_with_their_addresses(tmp_path: Path, address: str | None, start: str) -> None:
    store = DirectoryStore(tmp_path / "cdn")
    folder = make_release_files(tmp_path, "v2")["ctranslate2"].parent
    files = {name: folder / name for name in ("coreml", "ctranslate2")}
    released = publish_release(store, address, "stable", make_draft("v2"), files, NOON)
    for each in read_manifest(store, released.manifest_key).archives:
        assert (each.url, each.key) == (f"{start}{each.name}", f"releases/v2/{each.name}")
        with zipfile.ZipFile(io.BytesIO(store.read(each.key))) as archive:
            assert archive.read("sub/weights.bin") == f"{each.label} v2".encode() * 1000


def test_an_archive_more_is_another_release_of_the_same_version(tmp_path: Path) -> None:
    store, files = DirectoryStore(tmp_path / "cdn"), make_release_files(tmp_path, "v2")
    whole = make_draft("v2")
    part = whole.model_copy(update={"archives": whole.archives[1:]})
    first = publish_release(store, ADDRESS, "stable", part, {"ctranslate2": files["ctranslate2"]}, NOON)
    second = publish_release(store, ADDRESS, "stable", whole, files, NOON)
    assert (first.version, second.version) == ("2026.11.21-v2", "2026.11.21-v2.2")
    assert sorted(latest(store)["models"]) == ["habla", "ios"]
    assert publish_release(store, ADDRESS, "stable", whole, files, NOON).version == second.version


def test_a_release_that_ended_before_the_channel_moved_goes_on_with_its_own_manifest(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "cdn")
    first = publish(store, tmp_path, "v2")
    for each in list(store.list("channels/")):
        store.delete(each.key)
    again = publish(store, tmp_path, "v2", day=1)
    assert (again.manifest_key, again.version) == (first.manifest_key, "2026.11.21-v2")
    assert len(list(store.list("releases/v2/manifest-"))) == 1
    assert latest(store)["moved_at"] == "2026-11-22T12:00:00Z"


def test_channels_are_independent(store: Store, tmp_path: Path) -> None:
    publish(store, tmp_path, "v1")
    publish_release(store, ADDRESS, "beta", make_draft("v2"), make_release_files(tmp_path, "v2"), NOON)
    assert (latest(store)["model_version"], latest(store, "beta")["model_version"]) == ("v1", "v2")
    assert [each.version for each in list_releases(store, "beta")] == ["2026.11.21-v2"]
    assert list_releases(store, "nightly") == []


def test_an_older_model_does_not_replace_a_later_one(store: Store, tmp_path: Path) -> None:
    publish(store, tmp_path, "v10")
    with pytest.raises(ReleaseError, match=r"already has 2026\.11\.21-v10, a later model than v9.*roll back"):
        publish(store, tmp_path, "v9")
    assert current(store) == "2026.11.21-v10"


def test_a_repeated_superseded_release_does_not_move_the_channel(store: Store, tmp_path: Path) -> None:
    first = publish(store, tmp_path, "v1")
    publish(store, tmp_path, "v2")
    again = publish(store, tmp_path, "v1")
    assert (again.version, again.is_current) == (first.version, False)
    assert current(store) == "2026.11.21-v2"
    rollback(store, "stable")
    assert publish(store, tmp_path, "v2").is_current is False
    assert current(store) == "2026.11.21-v1"


def test_each_rollback_goes_one_release_back(store: Store, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        publish(store, tmp_path, f"v{number}")
    assert rollback(store, "stable", now=NOON).version == "2026.11.21-v2"
    assert latest(store)["replaces"] == "2026.11.21-v3"
    assert (latest(store)["sequence"], latest(store)["number"], latest(store)["move"]) == (4, 2, "rollback")
    assert rollback(store, "stable").version == "2026.11.21-v1"
    with pytest.raises(ReleaseError, match=r"2026\.11\.21-v1 is the first release of channel stable"):
        rollback(store, "stable")
    assert current(store) == "2026.11.21-v1"
    assert [each.version for each in list_releases(store, "stable")] == [f"2026.11.21-v{n}" for n in (3, 2, 1)]


def test_a_release_after_a_rollback_replaces_the_rolled_back_one(store: Store, tmp_path: Path) -> None:
    publish(store, tmp_path, "v1")
    publish(store, tmp_path, "v2")
    rollback(store, "stable")
    third = publish(store, tmp_path, "v3")
    assert (third.number, third.replaces) == (4, "2026.11.21-v1")
    assert rollback(store, "stable").version == "2026.11.21-v1"


def test_rollback_to_a_named_release_works_both_ways_and_twice(store: Store, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        publish(store, tmp_path, f"v{number}")
    assert rollback(store, "stable", "v1").is_current
    assert rollback(store, "stable", "2026.11.21-v3").is_current
    sequence = latest(store)["sequence"]
    assert rollback(store, "stable", "v3").is_current
    assert latest(store)["sequence"] == sequence
    with pytest.raises(ReleaseError, match=r"'v7' was never released on channel stable; choose one of .*v1, .*v3"):
        rollback(store, "stable", "v7")


def test_a_rollback_to_a_release_of_an_earlier_version_of_the_manifest_works(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "cdn")
    released = publish(store, tmp_path, "v1")
    manifest = json.loads(store.read(released.manifest_key))
    del manifest["code"], manifest["training"]["code"]
    data = to_canonical_json(manifest)
    store.put_if_absent("releases/v1/manifest-before.json", data)
    stated = {"manifest_key": "releases/v1/manifest-before.json", "manifest_sha256": hashlib.sha256(data).hexdigest()}
    (tmp_path / "cdn/channels/stable/latest.json").write_bytes(to_canonical_json({**latest(store), **stated}))
    publish(store, tmp_path, "v2")
    assert rollback(store, "stable").manifest_key == "releases/v1/manifest-before.json"
    assert current(store) == "2026.11.21-v1"


def test_a_rollback_of_an_empty_channel_is_an_error(store: Store) -> None:
    with pytest.raises(ReleaseError, match=r"channel stable .* has no release yet"):
        rollback(store, "stable")


@pytest.mark.parametrize("damage", ["removed", "cut off", "flipped"])
@pytest.mark.parametrize("part", ["coreml", "ctranslate2", "manifest"])
def test_a_rollback_to_a_damaged_release_is_refused(tmp_path: Path, damage: str, part: str) -> None:
    store = DirectoryStore(tmp_path / "cdn")
    publish(store, tmp_path, "v1")
    publish(store, tmp_path, "v2")
    [path] = (tmp_path / "cdn" / "releases" / "v1").glob(f"*{part}*")
    data = path.read_bytes()
    path.unlink()
    if damage == "cut off":
        path.write_bytes(data[:-1])
    if damage == "flipped":
        path.write_bytes(data.replace(b"openai", b"openbi") if part == "manifest" else data[:-1] + b"x")
    before = (tmp_path / "cdn/channels/stable/latest.json").read_bytes()
    with pytest.raises(ReleaseError, match=f"{path.name} .*(is not in|is damaged)"):
        rollback(store, "stable")
    assert (tmp_path / "cdn/channels/stable/latest.json").read_bytes() == before


def test_a_damaged_archive_of_an_earlier_attempt_is_not_released(
    tmp_path: Path, draft: ReleaseDraft, files: Mapping[str, Path]
) -> None:
    store = DirectoryStore(tmp_path / "cdn")
    digest = hashlib.sha256(files["coreml"].read_bytes()).hexdigest()
    store.put_if_absent(f"releases/v2/habla-coreml-v2-{digest[:12]}.zip", b"half")
    with pytest.raises(ReleaseError, match="is damaged: 4 bytes"):
        publish_release(store, None, "stable", draft, files)
    assert list_releases(store, "stable") == []


@pytest.mark.parametrize("fault", ["missing", "no zip", "broken zip", "escaping zip", "empty folder", "other labels"])
def test_invalid_archives_are_refused_before_anything_is_stored(
    tmp_path: Path, draft: ReleaseDraft, files: Mapping[str, Path], fault: str
) -> None:
    store, broken = DirectoryStore(tmp_path / "cdn"), tmp_path / "broken"
    given = {**files, "ctranslate2": broken}
    if fault == "no zip":
        broken.write_text("hola")
    if fault == "broken zip":
        data = bytearray(files["coreml"].read_bytes())
        data[200] ^= 1
        broken.write_bytes(data)
    if fault == "escaping zip":
        with zipfile.ZipFile(broken, "w") as archive:
            archive.writestr("../outside", "x")
    if fault == "empty folder":
        broken.mkdir()
    if fault == "other labels":
        given = {"coreml": files["coreml"], "onnx": files["coreml"]}
    with pytest.raises((ExportError, ReleaseError), match=r"broken|onnx"):
        publish_release(store, None, "stable", draft, given)
    assert list(store.list("")) == []


@pytest.mark.parametrize("address", ["models.example.org", "ftp://models.example.org", "https://", "/srv/models"])
def test_a_public_address_that_a_phone_cannot_use_is_refused(
    tmp_path: Path, draft: ReleaseDraft, files: Mapping[str, Path], address: str
) -> None:
    with pytest.raises(ReleaseError, match="expected an address like https://"):
        publish_release(DirectoryStore(tmp_path / "cdn"), address, "stable", draft, files)


@pytest.mark.parametrize("name", ["", "2", "v", "v0", "v02", "v-1", "v1.0", "v2\n", "v2-s2", "v2-p25"])
def test_a_draft_of_an_invalid_model_version_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="model_version"):
        make_draft(name)


@pytest.mark.parametrize("name", ["", "Stable", "a/b", "../x", "-x"])
def test_an_invalid_channel_name_is_refused(
    tmp_path: Path, draft: ReleaseDraft, files: Mapping[str, Path], name: str
) -> None:
    with pytest.raises(ReleaseError, match="invalid channel name"):
        publish_release(DirectoryStore(tmp_path / "cdn"), None, name, draft, files)


def test_a_damaged_pointer_is_an_error(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "cdn")
    store.put_if_absent("channels/stable/latest.json", b"{}")
    with pytest.raises(ReleaseError, match=r"channels/stable/latest\.json is damaged"):
        list_releases(store, "stable")


@pytest.mark.long
def test_eight_concurrent_equal_releases_give_one_release(
    new_store: Callable[[], Store], draft: ReleaseDraft, files: Mapping[str, Path]
) -> None:
    stores = [new_store() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda each: publish_release(each, None, "stable", draft, files, NOON), stores))
    assert all(each == found[0] for each in found)
    assert len(list_releases(stores[0], "stable")) == 1
    assert latest(stores[0])["sequence"] == 1


def test_concurrent_releases_leave_a_complete_one_on_the_channel(store: Store, tmp_path: Path) -> None:
    def attempt(version: str) -> str:
        try:
            return publish(store, tmp_path, version).version
        except (LakeError, ReleaseError) as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(attempt, ["v1", "v2"]))
    assert "2026.11.21-v" in current(store)
    published = [each.version for each in list_releases(store, "stable")]
    refused = [each for each in answers if each not in published]
    assert all("moved by another process" in each or "a later model" in each for each in refused)
    assert len(published) + len(refused) == 2


def test_a_full_disk_does_not_change_the_channel(small_disk: Path, tmp_path: Path) -> None:
    store = DirectoryStore(small_disk / "cdn")
    publish(store, tmp_path, "v1")
    large = make_release_files(tmp_path, "v2")
    (large["ctranslate2"] / "model.bin").write_bytes(b"x" * (2 << 20))
    with pytest.raises(LakeError, match="free some space"):
        publish_release(store, ADDRESS, "stable", make_draft("v2"), large, NOON)
    assert current(store) == "2026.11.21-v1"
    rollback(store, "stable", "v1")


def test_a_full_work_folder_is_an_error_that_stores_nothing(small_disk: Path, tmp_path: Path) -> None:
    store, large = DirectoryStore(tmp_path / "cdn"), make_release_files(tmp_path, "v2")
    (large["ctranslate2"] / "model.bin").write_bytes(b"x" * (2 << 20))
    with pytest.raises(ExportError, match=r"cannot zip .*ctranslate2.* free some space there"):
        publish_release(store, None, "stable", make_draft("v2"), large, work_folder=small_disk / "new")
    assert list(store.list("")) == []
    assert list((small_disk / "new" / "scratch").iterdir()) == []
