"""Transcribes audio files with one model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from habla_ml.audio import AudioDecoder
from habla_ml.errors import InputError
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.names import escape_name
from habla_ml.settings import Settings
from habla_ml.transcription.engine import load_engine_class
from habla_ml.transcription.hypothesis_cache import transcribe_cached
from habla_ml.transcription.open import HostedAccess, open_transcriber
from habla_ml.transcription.options import EngineOptions, HostedOptions
from habla_ml.transcription.serving_profiles import build_served_options
from habla_ml.transcription.speech_clips import cut_at_pauses
from habla_ml.transcription.transcript import Document, Segment, build_segments

CACHE_FOLDER: Final = "transcripts"
"""Folder of the cache below the work folder; `habla_ml.erasure` deletes it."""

FileProgress = Callable[[float], None]
"""Receives the number of files done; its fraction is the share of the current file."""


@dataclass(frozen=True)
class TranscriptionModel:
    """A model with the options to decode with."""

    name: str
    artefact: str
    """Digest of the model folder, under which hypotheses are cached."""
    folder: Path | None
    """Of a hosted service, that of the local model which replaces it; None without one."""
    options: EngineOptions


@dataclass(frozen=True)
class FileTranscript:
    """The result of one file: a document, or an error."""

    file: Path
    document: Document | None
    error: str = ""


def enable_word_times(model: TranscriptionModel) -> TranscriptionModel:
    """Return the model with word times, where its local engine supports them; services return them anyway."""
    options = model.options
    if isinstance(options, HostedOptions):
        return model
    if "word_times" not in load_engine_class(options.engine).supported_options:
        return model
    return replace(model, options=options.model_copy(update={"word_times": True}))


def transcribe_files(
    files: Sequence[Path],
    model: TranscriptionModel,
    lake: Lake,
    settings: Settings,
    progress: FileProgress,
    speaker: str | None = None,
) -> Iterator[FileTranscript]:
    """Yield the transcript of each file, in order; a file that cannot be decoded gives an error.

    A file that this model transcribed before is not decoded again. Its hypotheses are in a cache of their own below the
    work folder, and not in the lake: the speakers of such a file are unknown, so an erasure removes the whole cache. The
    lake only records the cost of hosted services.

    Raises:
        EvaluationError: The engine cannot be used.
        LakeError: The cache cannot be read or written.
    """
    evaluation, chosen = settings.evaluation, settings.transcription
    folder = settings.work_folder / CACHE_FOLDER
    cache = Lake(DirectoryStore(folder / "store"), folder / "cache")
    access = HostedAccess(evaluation.hosted, lake, build_served_options(evaluation))
    opened = open_transcriber(model.options, model.folder, evaluation.device, evaluation.cpu_threads, access)
    with closing(opened) as transcriber, AudioDecoder() as decoder:
        for at, file in enumerate(files):
            progress(at)
            try:
                clips = cut_at_pauses(decoder.decode(_read_file(file), chosen.longest_file_s))
            except InputError as error:
                yield FileTranscript(file, None, str(error))
                continue
            hypotheses = transcribe_cached(
                cache, model.artefact, transcriber, clips, partial(_report_share, progress, at, len(clips))
            )
            segments = build_segments(
                zip(clips, hypotheses, strict=True),
                language=model.options.language,
                line_width=chosen.line_width,
                low_confidence_below=chosen.low_confidence_below,
                speaker=speaker,
            )
            yield FileTranscript(file, _build_document(file, model, segments))
    progress(len(files))


def _read_file(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}") from error


def _report_share(progress: FileProgress, at: int, n_clips: int, done: int, _: int) -> None:
    progress(at + done / max(1, n_clips))


def _build_document(file: Path, model: TranscriptionModel, segments: tuple[Segment, ...]) -> Document:
    return Document(
        text=" ".join(each.text for each in segments if each.text),
        start_s=min((each.start_s for each in segments), default=0.0),
        end_s=max((each.end_s for each in segments), default=0.0),
        source=escape_name(file.name),
        model=model.name,
        engine=model.options.engine,
        language=model.options.language,
        segments=segments,
    )
