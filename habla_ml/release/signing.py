"""The private keys of releases: files in a folder, or a variable of the environment, and what they sign.

    <folder>/root-<id>.pem       signs the document of keys; belongs on a stick in a drawer
    <folder>/release-<id>.pem    signs the channels; belongs on the machine that releases

Each file is PKCS #8 in PEM. That of a root key can be encrypted with a passphrase.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from habla_ml.client.signatures import Signature, SignedText, compute_key_id, encode_signed_bytes
from habla_ml.errors import ReleaseError
from habla_ml.lake import to_canonical_json
from habla_ml.settings.files import RELEASE_KEY_VARIABLE, ROOT_PASSPHRASE_VARIABLE

Role = Literal["root", "release"]
ROLES: Final[tuple[Role, ...]] = ("root", "release")


@dataclass(frozen=True)
class SigningKey:
    """A private key."""

    private_key: Ed25519PrivateKey

    @property
    def public_bytes(self) -> bytes:
        """The public key, 32 bytes."""
        return self.private_key.public_key().public_bytes_raw()

    @property
    def key_id(self) -> str:
        """The id of the public key."""
        return compute_key_id(self.public_bytes)

    @property
    def public_text(self) -> str:
        """The public key in base64, as documents have it."""
        return base64.b64encode(self.public_bytes).decode()


@dataclass(frozen=True)
class Signing:
    """With what the states of channels are signed, and how long such a signature is valid."""

    keys: tuple[SigningKey, ...]
    """None of them: the deployment signs nothing."""
    lifetime: timedelta
    accepts_unverified: bool = False
    """Whether a person has looked at a state that none of these keys signed, and wants it signed."""


UNSIGNED: Final = Signing((), timedelta(days=90))
"""Of a deployment without keys."""


def generate_key() -> SigningKey:
    """Return a new key."""
    return SigningKey(Ed25519PrivateKey.generate())


def sign_value(kind: str, value: Mapping[str, Any], keys: Sequence[SigningKey]) -> SignedText:
    """Return a JSON value in its canonical form, signed by each of the keys."""
    text = to_canonical_json(dict(value)).decode()
    data = encode_signed_bytes(kind, text)
    signatures = (
        Signature(key=each.key_id, value=base64.b64encode(each.private_key.sign(data)).decode()) for each in keys
    )
    return SignedText(text=text, signatures=tuple(signatures))


def save_key(folder: Path, role: Role, key: SigningKey, passphrase: str | None = None) -> Path:
    """Write a private key to a new file that only its owner can read, and return the path.

    Raises `ReleaseError` if the folder cannot be written or has the key already.
    """
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    data = key.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    path = folder / f"{role}-{key.key_id}.pem"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ReleaseError(f"the key {path} cannot be written ({error.strerror}); choose another folder") from error
    return path


def load_keys(folder: Path, role: Role, environment: Mapping[str, str] = os.environ) -> list[SigningKey]:
    """Return the private keys of a role in a folder, and a release key in `HABLA_RELEASE_KEY` (PEM) first.

    Raises `ReleaseError` if one cannot be read.
    """
    given = environment.get(RELEASE_KEY_VARIABLE) if role == "release" else None
    found = [_parse_key(given.encode(), RELEASE_KEY_VARIABLE, None)] if given else []
    passphrase = environment.get(ROOT_PASSPHRASE_VARIABLE) if role == "root" else None
    for path in sorted(folder.glob(f"{role}-*.pem")):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ReleaseError(f"the key {path} cannot be read ({error.strerror}); fix its permissions") from error
        found.append(_parse_key(data, str(path), passphrase))
    return list({each.key_id: each for each in found}.values())


def list_key_ids(folder: Path, role: Role, environment: Mapping[str, str] = os.environ) -> set[str]:
    """Return the ids of the private keys that are at hand, by the names of the files, which are not opened."""
    named = {path.stem.removeprefix(f"{role}-") for path in folder.glob(f"{role}-*.pem")}
    given = environment.get(RELEASE_KEY_VARIABLE) if role == "release" else None
    return named | {_parse_key(given.encode(), RELEASE_KEY_VARIABLE, None).key_id} if given else named


def _parse_key(data: bytes, name: str, passphrase: str | None) -> SigningKey:
    try:
        key = load_pem_private_key(data, passphrase.encode() if passphrase else None)
    except (ValueError, TypeError) as error:
        # The error never quotes the key.
        remedy = f"set {ROOT_PASSPHRASE_VARIABLE} to its passphrase, or restore it from a backup"
        raise ReleaseError(f"{name} is no private key that can be read ({type(error).__name__}); {remedy}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ReleaseError(f"{name} is no Ed25519 key; make one with `habla-ml keys create`")
    return SigningKey(key)
