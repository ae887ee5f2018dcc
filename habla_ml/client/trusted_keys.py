"""The keys that a client trusts: a document that root keys sign and that names the keys of releases.

An app carries the first document. Each next version is signed by a root key of the version before and by one of its own, so
a client follows the chain to the newest, as in The Update Framework. A root key stays off the machine that releases; a
release key that is lost or stolen is left out of the next document, and what only it signed counts no more.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from habla_ml.client.problems import UntrustedReleaseError
from habla_ml.client.signatures import Base64, KeyId, SignedText, compute_key_id, count_valid_signatures

KEYS_KIND: Final = "habla_ml.keys/1"
_MOST_STEPS: Final = 1_000
_PUBLIC_KEY_BYTES: Final = 32


def get_keys_path(version: int) -> str:
    """Return the path of a version of the document below the root of the release store."""
    return f"keys/{version:06}.json"


def _require_public_key(value: str) -> str:
    if len(base64.b64decode(value, validate=True)) != _PUBLIC_KEY_BYTES:
        raise ValueError(f"has other than {_PUBLIC_KEY_BYTES} bytes")
    return value


PublicKey = Annotated[Base64, AfterValidator(_require_public_key)]


class TrustedKeys(BaseModel):
    """The content of the document."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["habla_ml.keys/1"] = KEYS_KIND
    version: Annotated[int, Field(ge=1)]
    created: AwareDatetime
    expires: AwareDatetime
    root_keys: Annotated[dict[KeyId, PublicKey], Field(min_length=1)]
    release_keys: dict[KeyId, PublicKey]
    """Keys that may sign the state of a channel; two while one replaces the other."""

    @model_validator(mode="after")
    def _require_ids(self) -> Self:
        for key_id, value in (*self.root_keys.items(), *self.release_keys.items()):
            if compute_key_id(base64.b64decode(value)) != key_id:
                raise ValueError(f"the id {key_id} is not that of its key")
        return self

    def decode_root_keys(self) -> dict[str, bytes]:
        """Return the root keys as bytes, by id."""
        return {key_id: base64.b64decode(value) for key_id, value in self.root_keys.items()}

    def decode_release_keys(self) -> dict[str, bytes]:
        """Return the release keys as bytes, by id."""
        return {key_id: base64.b64decode(value) for key_id, value in self.release_keys.items()}


def read_keys_document(data: bytes | str) -> tuple[SignedText, TrustedKeys]:
    """Parse a document that is signed by one of its own root keys; raises `UntrustedReleaseError`."""
    try:
        signed = SignedText.model_validate_json(data)
        keys = TrustedKeys.model_validate_json(signed.text)
    except ValidationError as error:
        raise UntrustedReleaseError(f"the document of keys is damaged ({error.errors()[0]['msg']})") from error
    if count_valid_signatures(KEYS_KIND, signed, keys.decode_root_keys()) == 0:
        raise UntrustedReleaseError(f"version {keys.version} of the document of keys is not signed by its own root key")
    return signed, keys


def follow_keys(trusted: SignedText, fetch: Callable[[int], bytes | None], now: datetime) -> SignedText:
    """Return the newest document that the trusted one leads to.

    Args:
        trusted: The document that the client has.
        fetch: Returns a version's document, or None if there is none.
        now: The present time.

    Raises:
        UntrustedReleaseError: A version is damaged or not signed by the version before, or the newest one has expired.
    """
    _, keys = read_keys_document(trusted.model_dump_json())
    for _ in range(_MOST_STEPS):
        data = fetch(keys.version + 1)
        if data is None:
            break
        signed, following = read_keys_document(data)
        is_next = following.version == keys.version + 1
        if not is_next or count_valid_signatures(KEYS_KIND, signed, keys.decode_root_keys()) == 0:
            raise UntrustedReleaseError(
                f"version {keys.version + 1} of the document of keys is not signed by a root key of version "
                f"{keys.version}; do not install anything, and tell the operator"
            )
        trusted, keys = signed, following
    if now >= keys.expires:
        raise UntrustedReleaseError(
            f"the document of keys, version {keys.version}, expired on {keys.expires:%Y-%m-%d}; check the device's clock, "
            "or let the operator renew it"
        )
    return trusted
