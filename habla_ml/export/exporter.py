"""What an export format consists of: one `Exporter` per format, listed in `habla_ml.export.registry`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from habla_ml.errors import ExportError
from habla_ml.settings.models import ExportSettings

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ExportOptions:
    """How one checkpoint is converted."""

    quantisation: str
    timeout_s: float = 3600.0
    """Only for a conversion that runs in its own process."""
    origin: Mapping[str, str] = field(default_factory=dict)
    """Model version and checkpoint, for formats that record them."""
    target: str | None = None
    """The oldest system that loads the model, one of `Exporter.targets`."""


@dataclass(frozen=True)
class ConvertedModel:
    """The file or folder that a conversion produced."""

    path: Path
    repairs: tuple[str, ...]
    """Faults of the checkpoint that were repaired first, one sentence each."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """JSON values of this format, such as the measured parity."""


@dataclass(frozen=True)
class PublishedExport:
    """A converted model in the lake."""

    artefact: str
    """Tree id of a folder, object id of a file."""
    checkpoint: str
    """Tree id of the checkpoint, or digest of the base model."""
    quantisation: str
    size_bytes: int
    repairs: tuple[str, ...]
    details: Mapping[str, Any]
    target: str | None = None
    """As in `ExportOptions`."""


@dataclass(frozen=True)
class ExportAsset:
    """The Dagster asset that makes an export of each model version."""

    name: str
    description: str
    kinds: frozenset[str]
    path_label: str | None = None
    """Label of the local path in the asset's metadata, for formats that are used from there."""
    summarise: Callable[[PublishedExport], Mapping[str, str | bool | float]] = lambda _: {}


@dataclass(frozen=True)
class ArchiveFormat:
    """What a release manifest states about an archive of this format."""

    format: str
    specification_version: int | None = None
    """Of Core ML."""
    minimum_ios: str | None = None
    parity: Mapping[str, float] | None = None
    """Measured differences from the checkpoint, for formats that were executed here."""


@dataclass(frozen=True)
class SampleDecoding:
    """How a report decodes a sample of the test set with an export."""

    engine: str
    profile: str = "habla"
    """The serving profile whose options the engine gets, those that it applies."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Decoding options in place of the profile's."""
    is_emulated: bool = False
    """The engine is not the one of the device: its speed says nothing, and a clip may take long."""


@dataclass(frozen=True)
class Exporter:
    """An export format."""

    name: str
    """Last part of the pointer name, label in a release, and `Engine.model_format` of the engines that read it."""
    title: str
    stored_as: Literal["tree", "archive"]
    """A folder or one file; also the pointer's key for the artefact."""
    quantisations: tuple[str, ...]
    convert: Callable[[Path, Path, ExportOptions, Progress], ConvertedModel]
    """Convert a Transformers folder. Temporary files and the result go below the second path, an existing folder. A
    format that can be executed here is also verified. Raises `ExportError`."""
    configured_quantisation: Callable[[ExportSettings], str | None] | None = None
    """Reads the settings; None where the format has one weight type. It returns None for a format that is left out."""
    targets: tuple[str, ...] = ()
    """Systems that it is written for, the oldest first; empty where one file serves all."""
    configured_target: Callable[[ExportSettings], str] | None = None
    """Reads the settings; None without `targets`."""
    asset: ExportAsset | None = None
    """None: converted only for a model comparison."""
    describe_archive: Callable[[PublishedExport], ArchiveFormat] | None = None
    """None: not part of a release."""
    sample_decoding: SampleDecoding | None = None
    """None: not decoded for the report, because it is the served format or the checkpoint itself."""

    @property
    def asset_name(self) -> str:
        """Name of the asset that makes it, for messages and dependencies."""
        return self.name if self.asset is None else self.asset.name

    def is_enabled(self, settings: ExportSettings) -> bool:
        """Return whether the settings make it for each model version."""
        return self.configured_quantisation is None or self.configured_quantisation(settings) is not None

    def build_options(
        self, settings: ExportSettings, quantisation: str | None = None, target: str | None = None
    ) -> ExportOptions:
        """Return the options of the settings, or those with another quantisation or target.

        Raises:
            ExportError: The format does not have this quantisation or target.
        """
        if quantisation is None:
            read = self.configured_quantisation
            quantisation = (read and read(settings)) or self.quantisations[0]
        if quantisation not in self.quantisations:
            raise ExportError(
                f"quantisation {quantisation!r} is unknown for a {self.title}; choose one of "
                f"{', '.join(self.quantisations)}"
            )
        if target is None and self.configured_target is not None:
            target = self.configured_target(settings)
        if target is not None and target not in self.targets:
            raise ExportError(
                f"target {target!r} is unknown for a {self.title}; choose one of {', '.join(self.targets) or 'none'}"
            )
        return ExportOptions(quantisation, settings.coreml_timeout_s, target=target)
