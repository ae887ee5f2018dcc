"""The document of keys in the release store (`habla_ml.client.trusted_keys`): create, renew, replace and revoke keys.

A version is immutable and stored under its number, so of two changes at once one fails. Each version is signed by a root key
of the version before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from habla_ml.client.signatures import SignedText
from habla_ml.client.trusted_keys import KEYS_KIND, TrustedKeys, get_keys_path, read_keys_document
from habla_ml.errors import ReleaseError
from habla_ml.lake import Store, to_canonical_json
from habla_ml.release.signing import (
    ROLES,
    Signing,
    SigningKey,
    generate_key,
    load_keys,
    save_key,
    sign_value,
)
from habla_ml.settings import Settings
from habla_ml.settings.files import RELEASE_KEY_VARIABLE

KEYS_LIFETIME: Final = timedelta(days=730)
"""A root key is at hand rarely, and after that time no client installs anything."""
_NAME: Final = re.compile(r"keys/([0-9]{6})\.json")


@dataclass(frozen=True)
class KeysDocument:
    """A version of the document."""

    signed: SignedText
    keys: TrustedKeys


def read_newest_keys(store: Store) -> KeysDocument | None:
    """Return the newest version, or None if the store has none; raises `UntrustedReleaseError` if it is damaged."""
    names = [each.key for each in store.list("keys/") if _NAME.fullmatch(each.key)]
    if not names:
        return None
    return KeysDocument(*read_keys_document(store.read(max(names))))


def create_keys(store: Store, root: SigningKey, release: SigningKey, now: datetime) -> KeysDocument:
    """Store the first version; raises `ReleaseError` if there is one."""
    if read_newest_keys(store) is not None:
        raise ReleaseError(f"{store.url} has a document of keys already; `habla-ml keys rotate` replaces a key")
    return _store_version(store, 1, {root.key_id: root.public_text}, {release.key_id: release.public_text}, [root], now)


def open_signing(settings: Settings, store: Store, now: datetime) -> Signing:
    """Return what signs the releases of a deployment. Where the store has no document of keys yet, keys are made first.

    Raises `ReleaseError` if the store trusts none of the keys that are at hand.
    """
    folder, newest = settings.keys_folder, read_newest_keys(store)
    if newest is None:
        newest = _make_first_keys(store, folder, now)
    keys = tuple(each for each in load_keys(folder, "release") if each.key_id in newest.keys.release_keys)
    if not keys:
        trusted = ", ".join(newest.keys.release_keys)
        raise ReleaseError(
            f"{store.url} trusts the release keys {trusted}, and none of them is in {folder} or in "
            f"{RELEASE_KEY_VARIABLE}; copy it there, or add a new one with `habla-ml keys rotate`"
        )
    return Signing(keys, timedelta(days=settings.release.signature_days))


def _make_first_keys(store: Store, folder: Path, now: datetime) -> KeysDocument:
    found: list[SigningKey] = []
    for role in ROLES:
        keys = load_keys(folder, role)
        found.append(keys[0] if keys else generate_key())
        if not keys:
            save_key(folder, role, found[-1])
    root, release = found
    return create_keys(store, root, release, now)


def change_keys(
    store: Store,
    roots: Sequence[SigningKey],
    now: datetime,
    *,
    add: Mapping[str, str] | None = None,
    revoke: Sequence[str] = (),
    add_root: SigningKey | None = None,
) -> KeysDocument:
    """Store the next version, and renew the time of expiry.

    Args:
        store: The release store.
        roots: The private root keys that are at hand.
        now: Time of the change.
        add: Public release keys in base64, by id.
        revoke: Ids of release or root keys that are trusted no more.
        add_root: A new root key.

    Raises:
        ReleaseError: No root key of the present version is at hand, a key to revoke is unknown, no key would be left, or
            another process changed the keys meanwhile.
    """
    before = read_newest_keys(store)
    if before is None:
        raise ReleaseError(f"{store.url} has no document of keys yet; `habla-ml keys create` makes it")
    root_keys, release_keys = dict(before.keys.root_keys), {**before.keys.release_keys, **(add or {})}
    signers = [each for each in roots if each.key_id in root_keys]
    if not signers:
        known = ", ".join(root_keys)
        raise ReleaseError(f"no private root key is at hand; put root-<id>.pem of {known} into the folder of keys")
    if add_root is not None:
        root_keys[add_root.key_id] = add_root.public_text
        signers.append(add_root)
    for key_id in revoke:
        if root_keys.pop(key_id, None) is None and release_keys.pop(key_id, None) is None:
            known = ", ".join((*root_keys, *release_keys))
            raise ReleaseError(f"{key_id} is no key of version {before.keys.version}; choose one of {known}")
    if not release_keys or not any(each.key_id in root_keys for each in signers):
        raise ReleaseError("a key that signs would be missing; add its successor in the same command")
    return _store_version(store, before.keys.version + 1, root_keys, release_keys, signers, now)


def _store_version(
    store: Store,
    version: int,
    root_keys: Mapping[str, str],
    release_keys: Mapping[str, str],
    signers: Sequence[SigningKey],
    now: datetime,
) -> KeysDocument:
    moment = now.replace(microsecond=0)
    keys = TrustedKeys(
        version=version,
        created=moment,
        expires=moment + KEYS_LIFETIME,
        root_keys=dict(root_keys),
        release_keys=dict(release_keys),
    )
    signed = sign_value(KEYS_KIND, keys.model_dump(mode="json"), signers)
    data = to_canonical_json(signed.model_dump(mode="json"))
    if not store.put_if_absent(get_keys_path(version), data):
        raise ReleaseError(f"another process stored version {version} of the document of keys; look and try again")
    return KeysDocument(signed, keys)
