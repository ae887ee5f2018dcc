"""What a channel offers, as a client reads it from the signed text of `latest.json`. Unknown keys are ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from habla_ml.client.problems import UntrustedReleaseError
from habla_ml.client.signatures import SignedText, require_signature
from habla_ml.client.trusted_keys import TrustedKeys

CHANNEL_KIND: Final = "habla_ml.channel/2"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ReceivedPart(BaseModel):
    """A part of a signed text."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class StatedArchive(ReceivedPart):
    """The archive for one platform."""

    label: str
    format: str
    url: str
    """Absolute, or relative to `latest.json`."""
    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=0)]
    minimum_os_version: str | None = None


class ChannelStatement(ReceivedPart):
    """The state of a channel."""

    format: str
    channel: str
    sequence: Annotated[int, Field(ge=1)]
    signed_at: AwareDatetime
    expires_at: AwareDatetime
    version: str
    number: int
    model_version: str
    minimum_app_version: str | None = None
    rollout_percent: Annotated[int, Field(ge=0, le=100)]
    critical: bool = False
    models: dict[str, StatedArchive]
    manifest_url: str
    manifest_sha256: Sha256


class _Pointer(ReceivedPart):
    signed: SignedText | None = None


class StatedFile(ReceivedPart):
    """A file inside an archive."""

    path: str
    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256


class _ManifestArchive(ReceivedPart):
    sha256: Sha256
    files: tuple[StatedFile, ...]


class ReceivedManifest(ReceivedPart):
    """The part of a release's manifest that an update needs."""

    archives: tuple[_ManifestArchive, ...]

    def find_files(self, archive_sha256: str) -> tuple[StatedFile, ...]:
        """Return the files of an archive; raises `UntrustedReleaseError` if the manifest does not have it."""
        for each in self.archives:
            if each.sha256 == archive_sha256:
                return each.files
        raise UntrustedReleaseError(f"the manifest does not list the archive {archive_sha256[:12]}; do not install it")


def read_statement(
    data: bytes, keys: TrustedKeys, channel: str, now: datetime, oldest_sequence: int
) -> ChannelStatement:
    """Return the state of a channel if it is signed, of this channel, not expired, and not older than what was seen.

    Args:
        data: Content of `latest.json`.
        keys: Whose signatures count.
        channel: Its name.
        now: The present time.
        oldest_sequence: The highest sequence number that the client has seen.

    Raises:
        UntrustedReleaseError: It is not.
    """
    try:
        signed = _Pointer.model_validate_json(data).signed
        if signed is None:
            raise UntrustedReleaseError(f"channel {channel} is not signed; let the operator run `habla-ml keys create`")
        text = require_signature(CHANNEL_KIND, signed, keys.decode_release_keys())
        found = ChannelStatement.model_validate_json(text)
    except ValidationError as error:
        raise UntrustedReleaseError(
            f"the pointer of channel {channel} is damaged ({error.errors()[0]['msg']})"
        ) from error
    if (found.format, found.channel) != (CHANNEL_KIND, channel):
        raise UntrustedReleaseError(f"the pointer of channel {channel} is that of {found.channel} ({found.format})")
    if found.sequence < oldest_sequence:
        raise UntrustedReleaseError(
            f"channel {channel} is at move {found.sequence}, and move {oldest_sequence} was seen before; an old state is "
            "served, so nothing is installed"
        )
    if now >= found.expires_at:
        raise UntrustedReleaseError(
            f"the state of channel {channel} expired on {found.expires_at:%Y-%m-%d}; check the device's clock, or let the "
            "operator run `habla-ml renew`"
        )
    return found


def read_received_manifest(data: bytes, sha256: str) -> ReceivedManifest:
    """Return the manifest; `sha256` is that of the bytes, already compared. Raises `UntrustedReleaseError`."""
    try:
        return ReceivedManifest.model_validate_json(data)
    except ValidationError as error:
        raise UntrustedReleaseError(f"the manifest {sha256[:12]} is damaged ({error.errors()[0]['msg']})") from error
