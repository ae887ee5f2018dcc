"""The manifest of a release: contents, provenance and evaluation. Immutable once published."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from habla_ml.code_identity import CodeIdentity
from habla_ml.errors import ObjectMissingError, ReleaseError
from habla_ml.lake import Store

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Label = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
ModelVersion = Annotated[str, Field(pattern=r"^v[1-9][0-9]*$")]


_PLATFORMS: Final = {"coreml": "ios", "ctranslate2": "habla"}
"""Platform by label of the archive; other archives are asked for by their label."""


class PublishedRecord(BaseModel):
    """A part of a published JSON document."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MeasuredRate(PublishedRecord):
    """A rate and its 95 % interval."""

    value: float
    low: float
    high: float


class MeasuredFormat(PublishedRecord):
    """What was measured with the files of an archive, on a random sample of the test set."""

    clips: int
    profile: str
    """The serving profile, e.g. `phone`."""
    engine: str
    """What executed the files."""
    wer: MeasuredRate
    points: MeasuredRate
    """WER minus that of the served model on the same clips, in points: above 0 is worse."""
    real_time_factor: float | None = None
    """Seconds of decoding for each second of audio; None where an interpreter executed the files."""
    hardware: str | None = None
    """On which the factor was measured."""


class ArchiveMetadata(PublishedRecord):
    """Properties of an archive before it is stored."""

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
    parity: dict[str, float] | None = Field(default=None, exclude_if=lambda value: value is None)
    """Measured differences from the checkpoint. Not inside the archive, whose bytes depend on the checkpoint only."""
    measured: MeasuredFormat | None = Field(default=None, exclude_if=lambda value: value is None)


class ArchivedFile(PublishedRecord):
    """One file inside an archive."""

    path: str
    size_bytes: int
    sha256: Sha256


class ReleaseArchive(ArchiveMetadata):
    """An archive as published."""

    name: str
    key: str
    """Path below the root of the store."""
    url: str
    """Absolute, or relative to the manifest if the store has no public address."""
    size_bytes: int
    sha256: Sha256
    files: tuple[ArchivedFile, ...]

    @property
    def platform(self) -> str:
        """The platform that installs it: `ios`, `habla`, or the label of the archive."""
        return _PLATFORMS.get(self.label, self.label)


class ModelReference(PublishedRecord):
    """The model that training started from."""

    name: str
    revision: str | None
    digest: Sha256 | None


class TrainingMetadata(PublishedRecord):
    """Identities of everything that determines the weights."""

    checkpoint: Sha256
    """Tree id in the lake."""
    record: Sha256
    """Object id of the training record: seed, packages, curves."""
    identity: Sha256
    recipe: str
    snapshot: Sha256
    hours: float
    code: tuple[CodeIdentity, ...] = ()
    """The code of the training's attempts, the oldest first."""


class EvaluationMetadata(PublishedRecord):
    """Measurements behind the decision."""

    comparison: Sha256
    """Object id of the evidence in the lake."""
    snapshot: Sha256
    """Snapshot of the test set."""
    conventions: str
    test_set: Sha256
    test_sessions: int
    test_words: int
    wer: MeasuredRate
    base_wer: MeasuredRate
    relative_improvement: MeasuredRate
    """Improvement over the base model: 0.4 means 40 % fewer errors."""
    out_of_domain_wer: MeasuredRate | None


class OverrideMetadata(PublishedRecord):
    """Decision of a person against the promotion rule."""

    signed_by: str
    reason: str
    signed_at: AwareDatetime


class ReleaseDraft(PublishedRecord):
    """Parts of a release that do not depend on place and time of publication."""

    model_id: Label
    model_version: ModelVersion
    base_model: ModelReference
    training: TrainingMetadata
    evaluation: EvaluationMetadata
    override: OverrideMetadata | None = None
    """Present if the rule refused the version."""
    archives: Annotated[tuple[ArchiveMetadata, ...], Field(min_length=1)]
    """The `url` of the channel is that of the first archive."""
    licence: str


class ReleaseManifest(ReleaseDraft):
    """A published release."""

    schema_version: Literal[1] = 1
    version: str
    """Readable version: `2026.11.21-v2`."""
    number: Annotated[int, Field(ge=1)]
    """Grows with each release of the channel."""
    created: AwareDatetime
    channel: str
    replaces: str | None
    """Previous version of the channel."""
    code: CodeIdentity | None = None
    """The code that released it; None in manifests from before this."""
    archives: Annotated[tuple[ReleaseArchive, ...], Field(min_length=1)]


def read_manifest(store: Store, key: str) -> ReleaseManifest:
    """Read a published manifest; raises `ReleaseError` if it is missing or damaged."""
    try:
        return ReleaseManifest.model_validate_json(store.read(key))
    except ObjectMissingError:
        raise ReleaseError(f"manifest {key} is not in {store.url}; restore it from a backup") from None
    except ValidationError as error:
        raise ReleaseError(f"manifest {key} in {store.url} is damaged: {error.errors()[0]['msg']}") from error
