"""Signed texts: a JSON text, and Ed25519 signatures of its bytes by keys that have an id.

The text travels as a string, so that a client verifies the bytes as they came and needs no canonical form of its own. What
is signed begins with the kind of the text: a signature of one kind never counts for another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Annotated, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field

from habla_ml.client.problems import UntrustedReleaseError

_KEY_ID_CHARS: Final = 32
_MOST_SIGNATURES: Final = 16

KeyId = Annotated[str, Field(pattern=rf"^[0-9a-f]{{{_KEY_ID_CHARS}}}$")]
"""The first half of the sha256 of a public key's 32 bytes, in hex."""
Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]+={0,2}$", max_length=200)]


class Signature(BaseModel):
    """The signature of a text by one key."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: KeyId
    value: Base64
    """64 bytes."""


class SignedText(BaseModel):
    """A text with its signatures."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    text: str
    """JSON; whoever verified a signature reads this and nothing beside it."""
    signatures: Annotated[tuple[Signature, ...], Field(max_length=_MOST_SIGNATURES)]


def compute_key_id(public_key: bytes) -> str:
    """Return the id of a public key of 32 bytes."""
    return hashlib.sha256(public_key).hexdigest()[:_KEY_ID_CHARS]


def encode_signed_bytes(kind: str, text: str) -> bytes:
    """Return the bytes that a signature covers: the kind, a line feed, and the text in UTF-8."""
    return f"{kind}\n{text}".encode()


def count_valid_signatures(kind: str, signed: SignedText, keys: Mapping[str, bytes]) -> int:
    """Return how many of these keys have signed the text. `keys` are public keys of 32 bytes by id."""
    data = encode_signed_bytes(kind, signed.text)
    return sum(_is_valid(each.value, data, keys[each.key]) for each in _choose_first(signed) if each.key in keys)


def require_signature(kind: str, signed: SignedText, keys: Mapping[str, bytes]) -> str:
    """Return the text if one of these keys has signed it; raises `UntrustedReleaseError`."""
    if count_valid_signatures(kind, signed, keys) == 0:
        named = ", ".join(each.key for each in signed.signatures) or "nobody"
        raise UntrustedReleaseError(
            f"a text of the kind {kind} is signed by {named}, by no key that is trusted now; do not install it, and tell "
            "the operator"
        )
    return signed.text


def _choose_first(signed: SignedText) -> list[Signature]:
    """Return one signature of each key, so that no key counts twice."""
    return list({each.key: each for each in reversed(signed.signatures)}.values())


def _is_valid(value: str, data: bytes, public_key: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(base64.b64decode(value, validate=True), data)
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True
