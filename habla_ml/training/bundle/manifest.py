"""The manifests of a bundle and of its result, and the check of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from habla_ml.code_identity import CodeIdentity
from habla_ml.corpus.general_speech import SpeechSourceSummary
from habla_ml.errors import InputError, TrainingError
from habla_ml.json_input import parse_json
from habla_ml.lake import compute_sha256
from habla_ml.training.identity import RunIdentity
from habla_ml.training.recipe import Recipe

MANIFEST_FILE: Final = "bundle.json"
RESULT_FOLDER: Final = "result"
RESULT_FILE: Final = "result.json"
RUN_FILE: Final = "run.json"
CHECKPOINT_FOLDER: Final = "checkpoint"
StageName = Literal["first_stage", "version"]
_MAX_MANIFEST_BYTES: Final = 32 << 20
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Model = TypeVar("_Model", bound=BaseModel)


class _ManifestPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileDigest(_ManifestPart):
    """Size and sha256 of a file."""

    size_bytes: Annotated[int, Field(ge=0)]
    sha256: _Sha256

    @classmethod
    def of(cls, path: Path) -> Self:
        """Read a file."""
        return cls(size_bytes=path.stat().st_size, sha256=compute_sha256(path))


class BundledBase(_ManifestPart):
    """The base model, whose files are in the folder `base`."""

    name: str
    revision: str | None
    digest: str


class BundledStage(_ManifestPart):
    """One run of the training: the first stage, or the version itself."""

    name: StageName
    data: str
    """Name of its data in messages."""
    recipe: Recipe
    identity: RunIdentity
    """On the machine that made the bundle; the inputs are the same elsewhere."""
    general_speech: tuple[SpeechSourceSummary, ...]


class BundleManifest(_ManifestPart):
    """What a bundle is for and what is in it; it names no person, session or segment."""

    format: Literal["habla_ml.bundle/1"] = "habla_ml.bundle/1"
    version: str
    created_at: datetime
    code: CodeIdentity
    """Of the deployment that made it."""
    sources: _Sha256
    """Of the package in the folder `code`."""
    base: BundledBase
    stages: Annotated[tuple[BundledStage, ...], Field(min_length=1, max_length=2)]
    has_start: bool
    """Whether the folder `start` has the weights from which the version continues."""
    files: Mapping[str, FileDigest]


class ResultManifest(_ManifestPart):
    """The files of a trained bundle."""

    format: Literal["habla_ml.bundle_result/1"] = "habla_ml.bundle_result/1"
    bundle: _Sha256
    """Of the bundle's manifest."""
    files: Mapping[str, FileDigest]


def read_manifest(path: Path, model: type[_Model]) -> tuple[_Model, str]:
    """Return a manifest and its sha256; raises `TrainingError` if it is missing, too large or invalid."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror}; name the folder of a bundle") from error
    if len(data) > _MAX_MANIFEST_BYTES:
        raise TrainingError(
            f"{path} has more than {_MAX_MANIFEST_BYTES >> 20} MiB, so it is no manifest; copy it again"
        )
    try:
        return model.model_validate(parse_json(data)), hashlib.sha256(data).hexdigest()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise TrainingError(f"{path}: {where} is wrong ({first['msg']}); copy the folder again") from None
    except InputError as error:
        raise TrainingError(f"{path} {error}; copy the folder again") from None


def digest_files(folder: Path, without: Collection[str] = ()) -> dict[str, FileDigest]:
    """Return the path below `folder` and the digest of every file, except those in `without`."""
    paths = sorted(each for each in folder.rglob("*") if each.is_file())
    names = ((each.relative_to(folder).as_posix(), each) for each in paths)
    return {name: FileDigest.of(path) for name, path in names if name not in without}


def check_files(folder: Path, files: Mapping[str, FileDigest]) -> None:
    """Raise `TrainingError` if a file is missing, damaged, a link, or outside `folder`."""
    root = folder.resolve()
    for name, expected in files.items():
        pure, path = PurePosixPath(name), folder / name
        if pure.is_absolute() or ".." in pure.parts or not path.resolve().is_relative_to(root):
            raise TrainingError(f"{folder} lists {name!r}, which is outside the folder; make the bundle again")
        if path.is_symlink() or not path.is_file():
            raise TrainingError(f"{path} is missing or no plain file; copy the folder again")
        if FileDigest.of(path) != expected:
            raise TrainingError(f"{path} is damaged: its size or sha256 is another; copy the folder again")
