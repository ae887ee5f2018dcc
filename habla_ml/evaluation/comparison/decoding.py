"""Decode the sets of an evaluation with one model, from the cache where possible."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from habla_ml.corpus.snapshot import Utterance
from habla_ml.evaluation.metrics.alignments import get_marked_words
from habla_ml.evaluation.metrics.inputs import DecodedModel, ModelRole, OptionalMeasurements
from habla_ml.lake import Lake
from habla_ml.settings import Settings
from habla_ml.transcription.engine import Clip, Hypothesis, load_engine_class
from habla_ml.transcription.hypothesis_cache import read_hypotheses, read_usage, transcribe_cached
from habla_ml.transcription.open import HostedAccess, open_bulk_transcriber
from habla_ml.transcription.options import DecodingOptions, EngineOptions
from habla_ml.transcription.serving_profiles import build_served_options

Progress = Callable[[str], None]
"""Logs one line."""
_LOG_EVERY_CLIPS = 20
_SILENCE_OPTIONS = ("vad", "no_speech_threshold", "log_prob_threshold")


@dataclass(frozen=True)
class EvaluatedModel:
    """A model to decode with: its artefact in the lake and the same files in a local folder."""

    name: str
    role: ModelRole
    artefact: str
    """Digest of what decodes, e.g. the tree id of a CTranslate2 folder."""
    folder: Path | None
    """Of a hosted service, that of the local model which replaces it; None without one."""
    checkpoint: str | None = None
    """Tree id of the checkpoint that the artefact was converted from; None where parity is not measured."""
    checkpoint_folder: Path | None = None
    decoding: EngineOptions | None = None
    """None for the options of the settings."""


def decode_sets(
    lake: Lake,
    model: EvaluatedModel,
    test: Callable[[], Iterable[Utterance]],
    measurements: OptionalMeasurements,
    settings: Settings,
    progress: Progress,
) -> DecodedModel:
    """Decode every set with one model; clips in the cache are not decoded again.

    The clips with manual word times are decoded a second time with `word_times`, which takes longer. On the clips without
    speech the model decides alone whether there is speech (`leave_silence_to_model`).

    Args:
        lake: Holds the cache of hypotheses.
        model: The model with its files.
        test: Reads the test set; called once or twice, so that memory never holds its audio.
        measurements: The other sets.
        settings: Where and how to decode.
        progress: Receives a line every 20 clips.

    Raises:
        EvaluationError: The engine failed.
        ServiceError: The Ray cluster that decodes was lost.
        LakeError: The cache cannot be read or written.
    """
    served = build_served_options(settings.evaluation)
    options = model.decoding or served
    known = len(read_hypotheses(lake, model.artefact, options))

    def decode(clips: Iterable[Clip], how: EngineOptions = options) -> list[Hypothesis]:
        access = HostedAccess(settings.evaluation.hosted, lake, served)
        decoder = open_bulk_transcriber(how, model.folder, settings, access)
        with closing(decoder) as transcriber:
            log = make_progress_callback(model.name, progress)
            return transcribe_cached(lake, model.artefact, transcriber, clips, progress=log)

    hypotheses, out_of_domain = decode(test()), decode(measurements.out_of_domain or ())
    non_speech = (
        decode(measurements.non_speech.clips, leave_silence_to_model(options)) if measurements.non_speech else []
    )
    timed: list[Hypothesis] = []
    alignments = measurements.alignments
    if alignments is not None and isinstance(options, DecodingOptions) and _has_word_times(options):
        aligned = (each for each in test() if get_marked_words(alignments, each.segment_id, each.audio_sha256))
        timed = decode(aligned, options.model_copy(update={"word_times": True}))
    return DecodedModel(
        name=model.name,
        role=model.role,
        artefact_digest=model.artefact,
        decoding=options,
        hypotheses=hypotheses,
        out_of_domain=out_of_domain,
        non_speech=non_speech,
        timed=timed,
        usage=read_usage(lake, model.artefact, options),
        newly_decoded=len(read_hypotheses(lake, model.artefact, options)) - known,
    )


def leave_silence_to_model(options: EngineOptions) -> EngineOptions:
    """Return the options without speech detection, and with Whisper's own thresholds where the engine has them.

    Speech detection would hide what a model writes without speech, and the phone has none. Without the thresholds the
    demo's base wrote text for 56 of 60 sounds, so that a worse model could not be seen.
    """
    if not isinstance(options, DecodingOptions):
        return options
    own = {name: DecodingOptions.model_fields[name].default for name in _SILENCE_OPTIONS}
    supported = load_engine_class(options.engine).supported_options
    return options.model_copy(update={name: value for name, value in own.items() if name in supported})


def _has_word_times(options: DecodingOptions) -> bool:
    return "word_times" in load_engine_class(options.engine).supported_options


def make_progress_callback(name: str, progress: Progress) -> Callable[[int, int], None]:
    """Return a callback of `transcribe_cached` that logs a line every 20 clips."""

    def log(done: int, decoded: int) -> None:
        if decoded and done % _LOG_EVERY_CLIPS == 0:
            progress(f"{name}: {done} clips done, {decoded} of them newly decoded")

    return log
