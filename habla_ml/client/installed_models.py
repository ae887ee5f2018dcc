"""The models on a device: folders beside each other, and one small file that names the present one.

    state.json            what is installed, what was seen, which keys are trusted; replaced atomically
    models/<name>/        an unpacked archive; appears under its name once it is complete and verified
    downloads/<sha256>    the part of an archive that has come
    lock                  held by the process that uses the folder

The process may be killed at any step: the file names the old or the complete new model.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from habla_ml.client.channel_statement import StatedFile
from habla_ml.client.signatures import SignedText
from habla_ml.client.unpack import unpack_stated_files
from habla_ml.errors import InputError
from habla_ml.process import hold_lock

_UNFINISHED: Final = ".unfinished"


class InstalledModel(BaseModel):
    """A model on the device."""

    model_config = ConfigDict(frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    """Of its folder."""
    version: str
    number: int
    sha256: str
    """Of its archive."""


class DeviceState(BaseModel):
    """Content of `state.json`."""

    model_config = ConfigDict(frozen=True)

    keys: SignedText
    """The newest document of keys that the device has followed."""
    sequence: int = 0
    """The highest number of a move that the device has seen."""
    known_time: AwareDatetime
    """The latest time of a signature that the device has seen; its clock cannot be right before that."""
    current: InstalledModel | None = None
    previous: InstalledModel | None = None
    broken: tuple[str, ...] = ()
    """The sha256 of archives whose model did not load on this device."""


class InstalledModels:
    """The models in a folder, whose lock it holds until `close`.

    Raises `InputError` if the folder cannot be used, or another process uses it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.downloads = folder / "downloads"
        self._models = folder / "models"
        self._lock = ExitStack()
        try:
            self._lock.enter_context(hold_lock(folder / "lock", self._make_busy_error))
            for each in (self._models, self.downloads):
                each.mkdir(parents=True, exist_ok=True)
            for each in self._models.glob(f"*{_UNFINISHED}"):
                shutil.rmtree(each)
        except OSError as error:
            raise InputError(f"the folder of models {folder} cannot be used ({error.strerror})") from error

    def close(self) -> None:
        """Leave the folder to others."""
        self._lock.close()

    def _make_busy_error(self, holder: str) -> InputError:
        return InputError(f"process {holder} updates the models in {self.folder}; wait until it ends, then try again")

    def read_state(self) -> DeviceState | None:
        """Return the state; None on a new device. Raises `InputError` if the file is damaged."""
        path = self.folder / "state.json"
        try:
            return DeviceState.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise InputError(f"{path} is damaged ({error.errors()[0]['msg']}); delete it to start over") from error

    def write_state(self, state: DeviceState) -> None:
        """Replace the state durably, then remove what it leaves over."""
        path = self.folder / "state.json"
        unfinished = path.with_suffix(_UNFINISHED)
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(state.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        _fsync_folder(self.folder)
        self.remove_leftovers(state)

    def remove_leftovers(self, state: DeviceState) -> None:
        """Remove the models that the state does not name, and the archives of those that it does."""
        named = [each for each in (state.current, state.previous) if each is not None]
        for folder in self._models.iterdir():
            if folder.name not in {each.name for each in named}:
                shutil.rmtree(folder)
        for archive in self.downloads.iterdir():
            if archive.name in {each.sha256 for each in named}:
                archive.unlink()

    def find_folder(self, model: InstalledModel) -> Path:
        """Return the folder of a model."""
        return self._models / model.name

    def unpack(self, archive: Path, files: Sequence[StatedFile], model: InstalledModel, earlier: Path | None) -> Path:
        """Unpack an archive into the folder of a model, and return it once every file is there and verified.

        A file that an `earlier` model has with the same bytes is linked instead of written again.

        Raises:
            DamagedDownloadError: The archive is broken, or has other files than stated.
        """
        target = self.find_folder(model)
        unfinished = target.with_name(f"{target.name}{_UNFINISHED}")
        shutil.rmtree(target, ignore_errors=True)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        unpack_stated_files(archive, files, unfinished, earlier)
        for folder in (unfinished, *(each for each in unfinished.rglob("*") if each.is_dir())):
            _fsync_folder(folder)
        unfinished.rename(target)
        _fsync_folder(self._models)
        return target


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
