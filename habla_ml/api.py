"""The stable Python interface: open a deployment, transcribe, evaluate, export. `docs/python_api.md` has an example.

Its names and meanings change with a major version only; other modules change at any time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from habla_ml.errors import EvaluationError, ExportError, ReleaseError
from habla_ml.settings import Settings, load_settings

if TYPE_CHECKING:
    from habla_ml.evaluation.scoring.statistics import Interval
    from habla_ml.export.exporter import ConvertedModel
    from habla_ml.lake import Lake, Store
    from habla_ml.transcription.transcribe_files import FileTranscript, TranscriptionModel

__all__ = ["Deployment", "TextEvaluation", "evaluate", "export", "open_deployment", "transcribe"]

_DRAWS = 2_000
_SEED = 20260216


@dataclass(frozen=True)
class Deployment:
    """A profile and its stores, which are opened at their first use."""

    settings: Settings

    @cached_property
    def lake(self) -> Lake:
        """The lake of the deployment."""
        from habla_ml.lake.factory import open_lake

        return open_lake(self.settings.lake, self.settings.work_folder / "cache")

    @cached_property
    def release_store(self) -> Store:
        """The store of the releases."""
        from habla_ml.lake.factory import open_store

        return open_store(self.settings.release.store)


def open_deployment(profile: str | None = None) -> Deployment:
    """Load the settings of a profile: its name in `configs/`, or the path of a YAML file; None as for the commands.

    Raises:
        SettingsError: The profile is missing or wrong.
    """
    return Deployment(load_settings(profile))


def _ignore(_: object) -> None:
    pass


def transcribe(
    deployment: Deployment,
    files: Sequence[Path],
    model: str | None = None,
    *,
    word_times: bool = True,
    speaker: str | None = None,
    progress: Callable[[float], None] = _ignore,
    log: Callable[[str], None] = _ignore,
) -> Iterator[FileTranscript]:
    """Yield the transcript of each audio file, in order; a file that cannot be decoded gives an error.

    Args:
        deployment: The released model is that of its channel.
        files: WAV, FLAC, m4a, MP3, Ogg or WebM.
        model: A version, `base` or a folder; None for the released model.
        word_times: Whether words have a start and an end.
        speaker: The speaker's name, if one person speaks.
        progress: Gets the number of files that are done, as a fraction within a file.
        log: Gets a line about each slow step.

    Raises:
        ReleaseError: Nothing is released, and no model is named.
        EvaluationError: The engine cannot be used.
    """
    from habla_ml.evaluation.comparison.model_spec import parse_model_spec
    from habla_ml.evaluation.comparison.models_under_test import prepare_model
    from habla_ml.transcription.transcribe_files import TranscriptionModel, enable_word_times, transcribe_files

    if model is None:
        chosen = _find_released_model(deployment)
    else:
        spec = parse_model_spec(model, deployment.settings)
        ready = prepare_model(spec, "compared", deployment.lake, deployment.settings, log)
        chosen = TranscriptionModel(model, ready.artefact, ready.folder, spec.decoding)
    chosen = enable_word_times(chosen) if word_times else chosen
    return transcribe_files(files, chosen, deployment.lake, deployment.settings, progress, speaker)


def _find_released_model(deployment: Deployment) -> TranscriptionModel:
    from habla_ml.export.publish import checkout_artefact
    from habla_ml.export.registry import SERVED
    from habla_ml.lake import catalogue
    from habla_ml.release.channel import read_channel
    from habla_ml.transcription.serving_profiles import build_served_options
    from habla_ml.transcription.transcribe_files import TranscriptionModel

    settings, channel = deployment.settings, deployment.settings.release.channel
    current = read_channel(deployment.release_store, channel).current
    if current is None:
        raise ReleaseError(f"channel {channel} has no release yet; release a model, or name one: --model base")
    pointer = deployment.lake.read_pointer(catalogue.EXPORT.name(current.model_version, SERVED.name))
    if pointer is None:
        raise ReleaseError(
            f"channel {channel} names {current.model_version}, and the lake has no CTranslate2 model of it; "
            "materialise `ctranslate2_model` for it, or name another model with --model"
        )
    tree = str(pointer.value["tree"])
    folder = checkout_artefact(deployment.lake, tree, settings.work_folder)
    return TranscriptionModel(current.model_version, tree, folder, build_served_options(settings.evaluation))


@dataclass(frozen=True)
class TextEvaluation:
    """Errors of hypotheses, counted as in the report: without case and punctuation, numbers read as words."""

    words: int
    """Words of the references."""
    substitutions: int
    deletions: int
    insertions: int
    wer: Interval | None
    """Word error rate as a share of 1, with its 95 % interval; None without reference words."""


def evaluate(
    references: Sequence[str], hypotheses: Sequence[str], sessions: Sequence[str] | None = None
) -> TextEvaluation:
    """Compare hypotheses with their references.

    Args:
        references: The true texts.
        hypotheses: What a model wrote, one for each reference.
        sessions: The recording of each text. The interval is over recordings, because the texts of one are alike; None
            counts each text as a recording of its own, which gives an interval that is too short for real lessons.

    Raises:
        EvaluationError: The lists are empty or differ in length.
    """
    from habla_ml.evaluation.scoring.alignment import check_equal_lengths, score_utterances, sum_counts
    from habla_ml.evaluation.scoring.normalisation import normalise_spanish
    from habla_ml.evaluation.scoring.rates import compute_rate, stack_counts
    from habla_ml.evaluation.scoring.statistics import Draws

    units = [str(at) for at in range(len(references))] if sessions is None else list(sessions)
    check_equal_lengths(references=references, hypotheses=hypotheses, sessions=units)
    if not references:
        raise EvaluationError("there is nothing to evaluate; pass at least one reference and its hypothesis")
    counts = [each.words for each in score_utterances(references, hypotheses, normalise_spanish)]
    (resample,) = Draws.of(units, _DRAWS, _SEED).resample([stack_counts([counts])])
    total = sum_counts(counts)
    rate = compute_rate(counts, resample, 0)
    return TextEvaluation(total.reference_words, total.substitutions, total.deletions, total.insertions, rate.interval)


def export(
    checkpoint: Path,
    out: Path,
    to: str,
    *,
    quantisation: str | None = None,
    target: str | None = None,
    log: Callable[[str], None] = _ignore,
) -> ConvertedModel:
    """Convert a folder of Transformers to another format, as the export assets do.

    `details` of the result has the type of the weights and the measured parity.

    Args:
        checkpoint: A Whisper folder of Transformers.
        out: The new file or folder.
        to: coreml, ctranslate2, ggml, onnx or transformers.
        quantisation: The type of the weights; None as in a release.
        target: The oldest system that loads it; None as in a release.
        log: Gets a line about each slow step.

    Raises:
        ExportError: The format is unknown, `out` exists or its folder does not, or the conversion fails.
    """
    from habla_ml.export.registry import EXPORTERS, find_exporter
    from habla_ml.settings.models import ExportSettings

    exporter = find_exporter(to)
    if exporter is None:
        raise ExportError(f"format {to!r} is unknown; choose one of {', '.join(each.name for each in EXPORTERS)}")
    if out.exists():
        raise ExportError(f"{out} exists already and is not overwritten; give a new name")
    if not out.resolve().parent.is_dir():
        raise ExportError(f"the folder {out.resolve().parent} does not exist; create it, or give another name")
    options = exporter.build_options(ExportSettings(), quantisation, target)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=out.resolve().parent) as scratch:
        converted = exporter.convert(checkpoint, Path(scratch), options, log)
        converted.path.rename(out)
    return replace(converted, path=out, details={**converted.details, "quantisation": options.quantisation})
