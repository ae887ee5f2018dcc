"""A transcriber whose engines run in processes of a Ray cluster."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

from habla_ml.ray_pool import RayActors, connect
from habla_ml.scratch import find_abandoned_folders, make_scratch_folder
from habla_ml.settings.models import DecodingLaunchSettings, RaySettings
from habla_ml.transcription.engine import Clip, Hypothesis, Usage, load_engine_class
from habla_ml.transcription.isolated import IsolatedTranscriber
from habla_ml.transcription.messages import ReceivedClip
from habla_ml.transcription.options import DecodingOptions

_CHUNK_BYTES: Final = 64 << 20
_FEWEST_CLIPS: Final = 32
"""Two batches of a GPU. Few, so that a small test set reaches all processes; of 30 s they are 61 MB."""


class RayTranscriber:
    """A `Transcriber` with the engine in `launch.engines` processes of a Ray cluster, which start with the first clip.

    Each process has the model in a local folder and an `IsolatedTranscriber`, so a bad clip fails as on one machine. A
    batch whose process is lost is decoded again by another one.
    """

    def __init__(
        self,
        model_folder: Path,
        options: DecodingOptions,
        device: str,
        cpu_threads: int,
        launch: DecodingLaunchSettings,
        cluster: RaySettings,
    ) -> None:
        """Check the options without connecting.

        Args:
            model_folder: A folder in the engine's format.
            options: Options of a local engine.
            device: `cpu`, `cuda` or `auto`, on the machines of the cluster.
            cpu_threads: Cores of each process; 0 is as many as Ray reserves.
            launch: The number of processes and their resources.
            cluster: The cluster.

        Raises:
            EvaluationError: The engine does not support an option that is set.
        """
        options.check_supported(load_engine_class(options.engine).supported_options)
        self.options = options
        self.usage = Usage()
        self.batch_clips = max(_FEWEST_CLIPS, 2 * (options.batch_size or 1))
        self._model_folder, self._device = model_folder, device
        self._cpu_threads = cpu_threads or max(1, int(launch.resources_per_engine.get("CPU", 1)))
        self._launch, self._cluster = launch, cluster
        self._actors: RayActors | None = None

    def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """See `Transcriber.transcribe`."""
        return next(self.transcribe_batches([clips]))

    def transcribe_batches(self, batches: Iterable[Sequence[Clip]]) -> Iterator[list[Hypothesis]]:
        """See `Transcriber.transcribe_batches`.

        Raises:
            EvaluationError: The engine cannot be used.
            SettingsError: Ray is not installed.
            ServiceError: The cluster cannot be reached, has no place for a process, or was lost.
        """
        # Texts and names stay here; an engine needs the samples only.
        packed = ([ReceivedClip(each.audio_sha256, each.duration_s, each.audio) for each in batch] for batch in batches)
        if (first := next(packed, None)) is None:
            return
        for hypotheses, used in self._ensure_actors().map(chain([first], packed)):
            self.usage += used
            yield hypotheses

    def close(self) -> None:
        """See `Transcriber.close`."""
        if self._actors is not None:
            self._actors.close()
            self._actors = None

    def _ensure_actors(self) -> RayActors:
        if self._actors is None:
            connect(self._cluster)
            build = partial(
                EngineWorker, PackedFolder.pack(self._model_folder), self.options, self._device, self._cpu_threads
            )
            self._actors = RayActors(build, self._launch.engines, self._launch.resources_per_engine, self._cluster)
        return self._actors


@dataclass(frozen=True)
class PackedFolder:
    """The files of a folder in Ray's object store."""

    files: tuple[tuple[str, tuple[Any, ...]], ...]
    """Path in the folder, with `/`, and references of its bytes in chunks."""

    @classmethod
    def pack(cls, folder: Path) -> PackedFolder:
        """Store the files; they stay as long as this object."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return cls(tuple((path.relative_to(folder).as_posix(), tuple(_put_chunks(path))) for path in paths))

    def unpack(self, folder: Path) -> None:
        """Write the files into an existing folder."""
        import ray

        for name, chunks in self.files:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                for each in chunks:
                    out.write(ray.get(each))


def _put_chunks(path: Path) -> Iterator[Any]:
    import ray

    with path.open("rb") as data:
        while chunk := data.read(_CHUNK_BYTES):
            yield ray.put(chunk)


class EngineWorker:
    """The `BatchWorker` of one process: an engine, and its model in a folder below the system's temporary folder."""

    def __init__(self, model: PackedFolder, options: DecodingOptions, device: str, cpu_threads: int) -> None:
        parent = Path(tempfile.gettempdir()) / f"habla_ml_{os.getuid()}"
        for abandoned in find_abandoned_folders(parent):  # of processes that were killed
            shutil.rmtree(abandoned, ignore_errors=True)
        self._opened = ExitStack()
        folder = self._opened.enter_context(make_scratch_folder(parent, "engine"))
        model.unpack(folder)
        self._transcriber = self._opened.enter_context(
            closing(IsolatedTranscriber(folder, options, device, cpu_threads))
        )

    def __call__(self, batch: Sequence[Clip]) -> tuple[list[Hypothesis], Usage]:
        """Return the hypotheses of the clips, in order, and what they used."""
        before = self._transcriber.usage
        return self._transcriber.transcribe(batch), self._transcriber.usage.since(before)

    def close(self) -> None:
        """End the engine and remove the model."""
        self._opened.close()
