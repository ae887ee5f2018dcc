"""The document of keys and the private keys: who may change them, what is refused, and what never leaves a file."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from habla_ml.client.problems import UntrustedReleaseError
from habla_ml.client.signatures import count_valid_signatures
from habla_ml.client.trusted_keys import KEYS_KIND, follow_keys, get_keys_path, read_keys_document
from habla_ml.errors import ReleaseError
from habla_ml.lake import DirectoryStore, Store
from habla_ml.release.keys import change_keys, create_keys, open_signing, read_newest_keys
from habla_ml.release.signing import Role, SigningKey, generate_key, list_key_ids, load_keys, save_key, sign_value
from habla_ml_tests.testing.deployment_settings import write_settings
from habla_ml_tests.testing.release_drafts import NOON

ROOT, RELEASE = generate_key(), generate_key()
LATER = NOON + timedelta(days=30)


def read_pem(path: Path) -> str:
    return path.read_text("ascii")


def test_the_keys_at_hand_are_those_of_the_folder_and_of_the_environment(tmp_path: Path) -> None:
    folder, given = tmp_path / "new" / "keys", generate_key()
    assert list_key_ids(folder, "release", {}) == set()
    save_key(folder, "release", RELEASE)
    save_key(folder, "root", ROOT)
    environment = {"HABLA_RELEASE_KEY": read_pem(save_key(tmp_path, "release", given))}
    assert list_key_ids(folder, "release", {}) == {RELEASE.key_id}
    assert list_key_ids(folder, "release", environment) == {RELEASE.key_id, given.key_id}
    assert list_key_ids(folder, "root", environment) == {ROOT.key_id}
    assert [each.key_id for each in load_keys(folder, "release", environment)] == [given.key_id, RELEASE.key_id]


def test_the_first_document_trusts_both_keys_and_is_made_once(store: Store) -> None:
    created = create_keys(store, ROOT, RELEASE, NOON)
    assert read_newest_keys(store) == created
    assert (list(created.keys.root_keys), list(created.keys.release_keys)) == ([ROOT.key_id], [RELEASE.key_id])
    assert created.keys.expires == NOON + timedelta(days=730)
    with pytest.raises(ReleaseError, match=r"has a document of keys already; `habla-ml keys rotate` replaces"):
        create_keys(store, generate_key(), generate_key(), NOON)


def test_each_version_is_signed_by_the_root_of_the_version_before(store: Store) -> None:
    create_keys(store, ROOT, RELEASE, NOON)
    new_root, new = generate_key(), generate_key()
    change_keys(store, [ROOT], LATER, add={new.key_id: new.public_text}, revoke=[RELEASE.key_id])
    change_keys(store, [ROOT], LATER, add_root=new_root)
    last = change_keys(store, [new_root], LATER, revoke=[ROOT.key_id])
    assert (last.keys.version, list(last.keys.root_keys), list(last.keys.release_keys)) == (
        4,
        [new_root.key_id],
        [new.key_id],
    )
    assert last.keys.expires == LATER + timedelta(days=730)
    third, _ = read_keys_document(store.read(get_keys_path(3)))
    both = {each.key_id: each.public_bytes for each in (ROOT, new_root)}
    assert count_valid_signatures(KEYS_KIND, third, both) == 2
    shipped, _ = read_keys_document(store.read(get_keys_path(1)))

    def fetch(version: int) -> bytes | None:
        return store.read(get_keys_path(version)) if version <= 4 else None

    assert follow_keys(shipped, fetch, LATER) == last.signed


@pytest.mark.parametrize(
    ("roots", "change", "why"),
    [
        ([], {}, r"no private root key is at hand; put root-<id>\.pem of"),
        ([generate_key()], {}, "no private root key is at hand"),
        ([RELEASE], {}, "no private root key is at hand"),
        ([ROOT], {"revoke": ["f" * 16]}, "f{16} is no key of version 1; choose one of"),
        ([ROOT], {"revoke": [RELEASE.key_id]}, "add its successor in the same command"),
        ([ROOT], {"revoke": [ROOT.key_id]}, "add its successor in the same command"),
    ],
)
def test_a_change_without_a_root_or_without_a_key_that_is_left_is_refused(
    tmp_path: Path, roots: list[SigningKey], change: dict[str, list[str]], why: str
) -> None:
    store = DirectoryStore(tmp_path)
    create_keys(store, ROOT, RELEASE, NOON)
    with pytest.raises(ReleaseError, match=why):
        change_keys(store, roots, LATER, **change)  # type: ignore[arg-type]
    assert [each.key for each in store.list("keys/")] == [get_keys_path(1)]


def test_a_change_before_the_first_document_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="`habla-ml keys create` makes it"):
        change_keys(DirectoryStore(tmp_path), [ROOT], NOON)


def test_of_eight_changes_at_once_each_version_is_stored_once_and_none_is_lost(
    new_store: Callable[[], Store],
) -> None:
    create_keys(new_store(), ROOT, RELEASE, NOON)
    keys = [generate_key() for _ in range(8)]

    def add(key: SigningKey) -> str:
        try:
            change_keys(new_store(), [ROOT], LATER, add={key.key_id: key.public_text})
        except ReleaseError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(add, keys))
    assert all("another process stored version" in each for each in answers if each)
    added = [not each for each in answers]
    newest = read_newest_keys(new_store())
    assert newest is not None
    assert any(added)
    assert newest.keys.version == 1 + sum(added)
    won = {key.key_id for key, is_added in zip(keys, added, strict=True) if is_added}
    assert newest.keys.release_keys.keys() == {RELEASE.key_id, *won}


def test_a_damaged_document_is_refused(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    create_keys(store, ROOT, RELEASE, NOON)
    path = tmp_path / get_keys_path(1)
    document = json.loads(path.read_bytes())
    document["text"] = document["text"].replace(RELEASE.public_text, ROOT.public_text)
    path.unlink()
    path.write_text(json.dumps(document))
    with pytest.raises(UntrustedReleaseError):
        read_newest_keys(store)


def test_a_private_key_is_for_its_owner_only_and_is_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    path = save_key(folder, "release", RELEASE)
    assert path.name == f"release-{RELEASE.key_id}.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [each.key_id for each in load_keys(folder, "release", {})] == [RELEASE.key_id]
    assert load_keys(folder, "root", {}) == []
    before = path.read_bytes()
    with pytest.raises(ReleaseError, match=r"cannot be written \(File exists\); choose another folder"):
        save_key(folder, "release", RELEASE)
    assert path.read_bytes() == before


def test_a_saved_key_signs_as_before(tmp_path: Path) -> None:
    save_key(tmp_path, "release", RELEASE)
    signed = sign_value("kind", {"a": 1}, load_keys(tmp_path, "release", {}))
    assert count_valid_signatures("kind", signed, {RELEASE.key_id: RELEASE.public_bytes}) == 1


def test_an_encrypted_root_key_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    path = save_key(tmp_path, "root", ROOT, "cuatro palabras muy largas")
    assert "ENCRYPTED" in read_pem(path)
    opened = load_keys(tmp_path, "root", {"HABLA_ROOT_PASSPHRASE": "cuatro palabras muy largas"})
    assert [each.key_id for each in opened] == [ROOT.key_id]
    for environment in ({}, {"HABLA_ROOT_PASSPHRASE": "otra"}):
        with pytest.raises(ReleaseError, match=r"set HABLA_ROOT_PASSPHRASE to its passphrase") as refused:
            load_keys(tmp_path, "root", environment)
        assert path.name in str(refused.value)


def test_a_passphrase_that_is_set_does_not_keep_a_release_key_out(tmp_path: Path) -> None:
    save_key(tmp_path, "release", RELEASE)
    found = load_keys(tmp_path, "release", {"HABLA_ROOT_PASSPHRASE": "cuatro palabras"})
    assert [each.key_id for each in found] == [RELEASE.key_id]


def test_a_release_key_in_the_environment_comes_first_and_counts_once(tmp_path: Path) -> None:
    other = generate_key()
    pem = read_pem(save_key(tmp_path / "elsewhere", "release", other))
    save_key(tmp_path, "release", RELEASE)
    environment = {"HABLA_RELEASE_KEY": pem}
    assert [each.key_id for each in load_keys(tmp_path, "release", environment)] == [other.key_id, RELEASE.key_id]
    assert [each.key_id for each in load_keys(tmp_path / "elsewhere", "release", environment)] == [other.key_id]
    assert load_keys(tmp_path, "root", environment) == []


def damage_pem(pem: str, damage: str) -> bytes:
    lines = pem.splitlines()
    if damage == "cut off":
        return "\n".join(lines[:-1]).encode()
    if damage == "changed":
        return pem.replace(lines[1][10:20], "A" * 10).encode()[:-40] + b"\n-----END PRIVATE KEY-----\n"
    if damage == "of RSA":
        key = generate_private_key(65537, 2048)
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {"empty": b"", "binary": bytes(range(256))}[damage]


@pytest.mark.parametrize("damage", ["empty", "cut off", "changed", "binary", "of RSA"])
def test_a_damaged_key_is_named_and_never_quoted(tmp_path: Path, damage: str) -> None:
    path = save_key(tmp_path, "release", RELEASE)
    secret = read_pem(path).splitlines()[1]
    path.write_bytes(damage_pem(read_pem(path), damage))
    with pytest.raises(ReleaseError, match=rf"{path.name} is no (private key that can be read|Ed25519 key)") as refused:
        load_keys(tmp_path, "release", {})
    assert secret not in str(refused.value)
    assert refused.value.__cause__ is None
    with pytest.raises(ReleaseError, match="HABLA_RELEASE_KEY is no private key") as refused:
        load_keys(tmp_path / "none", "release", {"HABLA_RELEASE_KEY": secret})
    assert secret not in str(refused.value)


def test_the_first_release_makes_keys_and_the_next_uses_them(tmp_path: Path) -> None:
    settings, store = write_settings(tmp_path), DirectoryStore(tmp_path / "cdn")
    first = open_signing(settings, store, NOON)
    assert sorted(path.name.partition("-")[0] for path in settings.keys_folder.iterdir()) == ["release", "root"]
    assert open_signing(settings, store, LATER).keys[0].key_id == first.keys[0].key_id
    assert first.lifetime == timedelta(days=90)
    (settings.keys_folder / f"root-{next(iter(read_newest_keys(store).keys.root_keys))}.pem").unlink()
    assert open_signing(settings, store, LATER).keys[0].key_id == first.keys[0].key_id


@pytest.mark.parametrize("saved", [("root",), ("release",), ("root", "release")])
def test_keys_that_are_at_hand_before_the_first_release_are_the_trusted_ones(
    tmp_path: Path, saved: tuple[Role, ...]
) -> None:
    settings, store = write_settings(tmp_path), DirectoryStore(tmp_path / "cdn")
    known: dict[Role, SigningKey] = {"root": ROOT, "release": RELEASE}
    for role in saved:
        save_key(settings.keys_folder, role, known[role])
    signing, document = open_signing(settings, store, NOON), read_newest_keys(store)
    assert document is not None
    assert (ROOT.key_id in document.keys.root_keys) is ("root" in saved)
    assert (RELEASE.key_id in document.keys.release_keys) is ("release" in saved)
    assert len(list(settings.keys_folder.iterdir())) == 2
    assert [each.key_id for each in signing.keys] == list(document.keys.release_keys)


def test_a_machine_without_a_trusted_key_releases_nothing(tmp_path: Path) -> None:
    settings, store = write_settings(tmp_path), DirectoryStore(tmp_path / "cdn")
    create_keys(store, ROOT, RELEASE, NOON)
    save_key(settings.keys_folder, "release", generate_key())
    with pytest.raises(ReleaseError, match=rf"trusts the release keys {RELEASE.key_id}, and none of them is in"):
        open_signing(settings, store, NOON)
    save_key(settings.keys_folder, "release", RELEASE)
    assert [each.key_id for each in open_signing(settings, store, NOON).keys] == [RELEASE.key_id]


def test_a_key_is_not_shown_by_its_representation() -> None:
    shown = f"{RELEASE!r} {open_signing!r}"
    assert "PRIVATE" not in shown
    assert RELEASE.private_key.private_bytes_raw().hex() not in shown
