"""The manifest of a release: what it holds, where it comes from and how good it is. Immutable once published."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Label = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
ModelVersion = Annotated[str, Field(pattern=r"^v[1-9][0-9]*$")]


class PublishedRecord(BaseModel):
    """A piece of a published JSON document."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ArchiveMetadata(PublishedRecord):
    """What is known of an archive before its bytes are laid down."""

    label: Label
    """Name of the exporter, e.g. `coreml` or `ctranslate2`."""
    format: Label
    """`ctranslate2`; `mlpackage`, which the app compiles once; or `mlmodelc`, which it loads directly."""
    quantisation: str
    artefact: Sha256
    """Object or tree id in the lake."""
    specification_version: int | None = None
    """Of Core ML."""
    minimum_ios: str | None = None


class ArchivedFile(PublishedRecord):
    """One file inside an archive."""

    path: str
    size_bytes: int
    sha256: Sha256


class ReleaseArchive(ArchiveMetadata):
    """An archive as published."""

    name: str
    key: str
    """Below the store's root."""
    url: str
    """Absolute, or relative to the manifest where the store has no public address."""
    size_bytes: int
    sha256: Sha256
    files: tuple[ArchivedFile, ...]


class ModelReference(PublishedRecord):
    """The model that training started from."""

    name: str
    revision: str | None
    digest: Sha256 | None
    """Of its content."""


class TrainingMetadata(PublishedRecord):
    """Names of everything that decided the weights."""

    checkpoint: Sha256
    """Tree id in the lake."""
    record: Sha256
    """Object id of the training's record: seed, packages, curves."""
    identity: Sha256
    recipe: str
    snapshot: Sha256
    hours: float


class MeasuredRate(PublishedRecord):
    """A rate and its 95 % interval."""

    value: float
    low: float
    high: float


class EvaluationMetadata(PublishedRecord):
    """The figures that let it be released."""

    comparison: Sha256
    """Object id of the evidence in the lake."""
    snapshot: Sha256
    """Whose test split was heard."""
    conventions: str
    test_set: Sha256
    test_sessions: int
    test_words: int
    wer: MeasuredRate
    base_wer: MeasuredRate
    relative_improvement: MeasuredRate
    """Over the base model: 0.4 is 40 % fewer errors."""
    out_of_domain_wer: MeasuredRate | None


class OverrideMetadata(PublishedRecord):
    """A person's decision against the promotion rule."""

    signed_by: str
    reason: str
    signed_at: AwareDatetime


class ReleaseDraft(PublishedRecord):
    """Everything about a release that does not depend on where and when it is published."""

    model_id: Label
    model_version: ModelVersion
    base_model: ModelReference
    training: TrainingMetadata
    evaluation: EvaluationMetadata
    override: OverrideMetadata | None = None
    """Where the rule refused it."""
    archives: Annotated[tuple[ArchiveMetadata, ...], Field(min_length=1)]
    """The first is the one that the channel's `url` names."""
    licence: str


class ReleaseManifest(PublishedRecord):
    """A published release."""

    schema_version: Literal[1] = 1
    model_id: Label
    model_version: ModelVersion
    version: str
    """For a person: `2026.11.21-v2`."""
    number: Annotated[int, Field(ge=1)]
    """For a machine: above that of every earlier release on the channel."""
    created: AwareDatetime
    channel: str
    replaces: str | None
    """The version the channel named before."""
    base_model: ModelReference
    training: TrainingMetadata
    evaluation: EvaluationMetadata
    override: OverrideMetadata | None = None
    """Where the rule refused it."""
    archives: Annotated[tuple[ReleaseArchive, ...], Field(min_length=1)]
    """The first is the one that the channel's `url` names."""
    licence: str
