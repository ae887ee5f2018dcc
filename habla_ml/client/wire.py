"""What the client sends and receives, with the names of the wire. `clients/fixtures/` has an example of each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from habla_ml.client.signatures import SignedText

DataPointStatus = Literal["corrected", "confirmed", "unusable"]


class SentRecord(BaseModel):
    """A document that the client sends."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ReceivedRecord(BaseModel):
    """A document that the service sends; keys that this version does not know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class SentDataPoint(SentRecord):
    """A correction of a clip (the ADR's `FineTuningDataPoint` on the wire)."""

    id: str
    recordingItemID: str  # noqa: N815 (names of the wire)
    correctedTranscription: str  # noqa: N815
    timestamp: AwareDatetime
    status: DataPointStatus = "corrected"
    reason: str = ""
    language: str = "es"
    appVersion: str = ""  # noqa: N815
    modelVersion: str = ""  # noqa: N815
    seenText: str | None = None  # noqa: N815


class SentConsent(SentRecord):
    """A consent of a contributor to a text that the person saw."""

    id: str
    contributor: str
    document: str
    documentVersion: int  # noqa: N815
    documentDigest: str  # noqa: N815
    minor: bool
    guardian: bool
    """Whether a guardian consented too; without that, a minor's consent does not stand."""
    givenAt: AwareDatetime  # noqa: N815


class DeviceEnrolment(ReceivedRecord):
    """The device after its enrolment."""

    deviceID: str  # noqa: N815
    label: str
    token: Annotated[str, Field(repr=False)]
    expiresAt: AwareDatetime  # noqa: N815


class ClipAcknowledgement(ReceivedRecord):
    """The acknowledgement of a clip."""

    id: str
    status: Literal["stored", "held"]


class ItemReply(ReceivedRecord):
    """What became of one data point of a batch."""

    index: int
    id: str | None
    status: Literal["accepted", "duplicate", "rejected", "conflict"]
    type: str | None = None
    detail: str | None = None
    retryable: bool = False

    @property
    def is_kept(self) -> bool:
        """Whether the service keeps the data point durably."""
        return self.status in ("accepted", "duplicate")


class BatchReply(ReceivedRecord):
    """The results of a batch, in the order of its items."""

    results: tuple[ItemReply, ...]


class OfferedConsentText(ReceivedRecord):
    """A text to show before a person consents."""

    document: str
    version: int
    language: str
    title: str
    text: str
    """Markdown."""
    digest: str
    """sha256 of the text in hex."""


class OfferedConsentTexts(ReceivedRecord):
    """The newest version of each text, in all its languages."""

    documents: tuple[OfferedConsentText, ...]


class ConsentReply(ReceivedRecord):
    """What became of a consent."""

    id: str
    contributor: str
    withdrawnAt: AwareDatetime | None  # noqa: N815
    erasedAt: AwareDatetime | None  # noqa: N815
    """When the service had erased everything that it received; None before that."""
    stands: bool
    """Whether the service accepts clips of the contributor."""


class ContributorRecord(ReceivedRecord):
    """What the service holds of a contributor, and the model versions that used it."""

    contributor: str
    stands: bool
    clips: int
    bytes: int
    corrections: int
    segments: int
    """Clips that are part of the recordings."""
    erasedSegments: int  # noqa: N815
    trainedVersions: tuple[str, ...]  # noqa: N815
    testedVersions: tuple[str, ...]  # noqa: N815


class LatestModel(ReceivedRecord):
    """The model that a channel offers."""

    platform: str
    channel: str
    sequence: int
    version: str
    number: int
    modelVersion: str  # noqa: N815
    url: str
    sha256: str
    sizeBytes: int  # noqa: N815
    format: str
    minimumOSVersion: str | None  # noqa: N815
    minimumAppVersion: str | None  # noqa: N815
    rolloutPercent: int  # noqa: N815
    signed: SignedText | None
    """The signed state of the channel, which `ModelUpdater` verifies; the other fields are for display."""
