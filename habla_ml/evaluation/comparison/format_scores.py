"""The candidate in every export format on the same clips: what a conversion costs in words, not in logits.

Each format is decoded by an engine that executes the released files, and compared with the served model under the same
options on the same clips.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from habla_ml.corpus.snapshot import TranscribedSegment, Utterance
from habla_ml.errors import EvaluationError, ExportError, LakeError
from habla_ml.evaluation.comparison.decoding import EvaluatedModel, Progress, make_progress_callback
from habla_ml.evaluation.comparison.profile_scores import resample_word_errors, select_clips
from habla_ml.evaluation.comparison.speed_measurement import describe_machine
from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.scoring.rates import ErrorRate, compute_rate
from habla_ml.evaluation.scoring.statistics import Interval, to_interval
from habla_ml.export.exporter import Exporter, PublishedExport, SampleDecoding
from habla_ml.export.publish import open_export, read_export
from habla_ml.export.registry import list_asset_exporters
from habla_ml.lake import Lake, compute_digest
from habla_ml.settings import EvaluationSettings, Settings
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.hypothesis_cache import transcribe_cached
from habla_ml.transcription.open import open_transcriber
from habla_ml.transcription.options import DecodingOptions, EngineOptions, select_supported
from habla_ml.transcription.serving_profiles import build_profile_options

_EMULATED_CLIP_TIMEOUT_S: Final = 600.0
"""An interpreter needs minutes for a clip with six attempts that a phone decodes in seconds."""
_FACTOR_DIGITS: Final = 3


class FormatScore(EvaluationRecord):
    """The candidate in one export format."""

    format: str
    """Name of the exporter."""
    artefact: str
    quantisation: str
    size_bytes: int
    profile: str
    decoding: EngineOptions
    served_decoding: EngineOptions
    """Of the served model: the same options in its own engine."""
    clips: int
    """Fewer than those of the sample where the time was over."""
    words: int
    wer: ErrorRate
    served_wer: ErrorRate
    """Of the served model on the same clips."""
    points: Interval | None
    """WER minus that of the served model, in points: above 0 is worse."""
    faults: int
    """Clips that were not decoded: timeouts and crashes."""
    real_time_factor: float | None
    """Seconds of decoding for each second of audio, clips at the same time on all cores; None where all were cached."""
    is_emulated: bool
    """The speed is that of an interpreter, not of a device."""
    hardware: str
    parity: dict[str, float] | None = None
    """Measured differences from the checkpoint, of the export."""
    run: str
    """Digest of artefacts, options, sample and time limit: a second evaluation shows the same clips and speed."""


class SkippedFormat(EvaluationRecord):
    """A format that was not decoded."""

    format: str
    reason: str


class FormatScores(EvaluationRecord):
    """The candidate in all export formats."""

    clips: int
    """Clips of the random sample."""
    test_clips: int
    """Clips of the whole test set."""
    scores: tuple[FormatScore, ...] = ()
    skipped: tuple[SkippedFormat, ...] = ()


def measure_formats(
    lake: Lake,
    candidate: EvaluatedModel,
    test: Callable[[], Iterable[Utterance]],
    settings: Settings,
    earlier: FormatScores | None,
    progress: Progress,
) -> FormatScores | None:
    """Decode a random sample of the test set with each export of the candidate that the settings name.

    Args:
        lake: Holds exports and hypotheses.
        candidate: The served model, with its checkpoint.
        test: Reads the test set.
        settings: Number of clips, time limit, formats.
        earlier: Those of the version's last report, whose number of clips and speed are shown again.
        progress: Receives a line now and then.

    Returns:
        None without clips, and where `format_clips` is 0.
    """
    chosen = settings.evaluation.format_clips
    total, references = select_clips(test(), chosen)
    if not references:
        return None
    by_id = {each.segment_id: each for each in test() if each.segment_id in references}
    sample = [by_id[each] for each in references]  # in random order, so that the first ones are a random sample too
    scores, skipped = list[FormatScore](), list[SkippedFormat]()
    for exporter in list_asset_exporters(settings.export):
        if exporter.sample_decoding is None:
            continue
        try:
            export = _find_export(lake, candidate, exporter)
            measurement = _Measurement(lake, candidate, exporter, exporter.sample_decoding, export, settings, progress)
            scores.append(measurement.run(sample, list(references.values()), earlier))
        except (EvaluationError, ExportError, LakeError) as error:  # the report is not about this format alone
            progress(f"{exporter.title} is not decoded: {error}")
            skipped.append(SkippedFormat(format=exporter.name, reason=str(error)))
    return FormatScores(clips=len(sample), test_clips=total, scores=tuple(scores), skipped=tuple(skipped))


def _find_export(lake: Lake, candidate: EvaluatedModel, exporter: Exporter) -> PublishedExport:
    export = read_export(lake, candidate.name, exporter)
    if export is None:
        raise EvaluationError(
            f"{candidate.name} has no {exporter.title} in the lake; materialise `{exporter.asset_name}`, then `wer_report`"
        )
    if export.checkpoint != candidate.checkpoint:
        raise EvaluationError(
            f"the {exporter.title} of {candidate.name} is of another checkpoint; materialise `{exporter.asset_name}` again"
        )
    return export


def build_sample_options(
    decoding: SampleDecoding, settings: EvaluationSettings
) -> tuple[DecodingOptions, DecodingOptions]:
    """Return the options of a format's engine, and the same for the served model."""
    served = build_profile_options(decoding.profile, settings)
    wanted: dict[str, Any] = {**served.model_dump(), **decoding.overrides}
    options = DecodingOptions(**select_supported(decoding.engine, wanted))
    same = select_supported(served.engine, options.model_dump())
    if decoding.is_emulated:
        longest_s = max(options.clip_timeout_s, _EMULATED_CLIP_TIMEOUT_S)
        options = options.model_copy(update={"clip_timeout_s": longest_s})
    return options, DecodingOptions(**same)


@dataclass(frozen=True)
class _Measurement:
    """One format of one candidate."""

    lake: Lake
    candidate: EvaluatedModel
    exporter: Exporter
    decoding: SampleDecoding
    export: PublishedExport
    settings: Settings
    progress: Progress

    def run(
        self, sample: Sequence[Utterance], references: Sequence[TranscribedSegment], earlier: FormatScores | None
    ) -> FormatScore:
        """Decode the sample with both models, and score the clips that were done in time."""
        options, served_options = build_sample_options(self.decoding, self.settings.evaluation)
        run = self._digest_run(sample, options, served_options)
        before = next((each for each in earlier.scores if each.run == run), None) if earlier else None
        hypotheses, factor = self._decode_format(sample[: before.clips if before else None], options, before is None)
        if not hypotheses:
            raise EvaluationError("no clip was decoded in time; increase evaluation.format_seconds")
        done = references[: len(hypotheses)]
        served = self._decode(self.candidate.artefact, served_options, sample[: len(done)])
        resample, counts = resample_word_errors(done, [served, hypotheses], self.settings.evaluation)
        parity: Mapping[str, float] | None = self.export.details.get("parity")
        return FormatScore(
            format=self.exporter.name,
            artefact=self.export.artefact,
            quantisation=self.export.quantisation,
            size_bytes=self.export.size_bytes,
            profile=self.decoding.profile,
            decoding=options,
            served_decoding=served_options,
            clips=len(done),
            words=resample.words,
            wer=compute_rate(counts[1], resample, 1),
            served_wer=compute_rate(counts[0], resample, 0),
            points=to_interval(resample.point_change(0, 1)),
            faults=sum(each.failure is not None for each in hypotheses),
            real_time_factor=before.real_time_factor if before else factor,
            is_emulated=self.decoding.is_emulated,
            hardware=before.hardware if before else describe_machine().to_sentence(),
            parity=None if parity is None else dict(parity),
            run=run,
        )

    def _decode_format(
        self, clips: Sequence[Utterance], options: DecodingOptions, has_limit: bool
    ) -> tuple[list[Hypothesis], float | None]:
        """Return the hypotheses of the clips that were done in time, and the real-time factor."""
        folder = open_export(self.lake, self.exporter, self.export, self.settings.work_folder)
        evaluation = self.settings.evaluation
        name = f"{self.candidate.name} as {self.exporter.name}"
        opened = open_transcriber(options, folder, evaluation.device, evaluation.cpu_threads)
        with closing(opened) as transcriber:
            hypotheses = transcribe_cached(
                self.lake,
                self.export.artefact,
                transcriber,
                _stop_after(clips, evaluation.format_seconds) if has_limit else clips,
                make_progress_callback(name, self.progress),
                save_every=os.cpu_count() or 1,
            )
            usage = transcriber.usage
        return hypotheses, float(f"{usage.decode_s / usage.audio_s:.{_FACTOR_DIGITS}g}") if usage.audio_s else None

    def _decode(self, artefact: str, options: DecodingOptions, clips: Sequence[Utterance]) -> list[Hypothesis]:
        evaluation = self.settings.evaluation
        opened = open_transcriber(options, self.candidate.folder, evaluation.device, evaluation.cpu_threads)
        with closing(opened) as transcriber:
            return transcribe_cached(self.lake, artefact, transcriber, clips)

    def _digest_run(self, sample: Sequence[Utterance], options: DecodingOptions, served: DecodingOptions) -> str:
        return compute_digest(
            {
                "models": [self.export.artefact, self.candidate.artefact],
                "options": [options.digest(), served.digest()],
                "clips": [each.audio_sha256 for each in sample],
                "seconds": self.settings.evaluation.format_seconds,
            }
        )


def _stop_after(clips: Sequence[Utterance], seconds: float) -> Iterator[Utterance]:
    """Yield clips until the time is over; a clip that was yielded is decoded to its end."""
    end_s = time.monotonic() + seconds
    for clip in clips:
        if time.monotonic() >= end_s:
            return
        yield clip
