"""What every model makes of the same sets: the test set, general Spanish, silence; and its checkpoint too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from habla_ml.corpus.snapshot import Snapshot, Utterance, read_utterances
from habla_ml.evaluation.comparison.records import DecodingResources, ModelRole, Parity
from habla_ml.evaluation.metrics.alignments import Alignments, is_aligned
from habla_ml.evaluation.metrics.non_speech import NonSpeechSet
from habla_ml.evaluation.scoring.alignment import score_utterances
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.evaluation.scoring.rates import make_draws, stack_counts
from habla_ml.evaluation.scoring.statistics import to_interval
from habla_ml.lake import Lake, compute_digest
from habla_ml.settings import EvaluationSettings
from habla_ml.transcription.engine import Clip, Hypothesis, Usage
from habla_ml.transcription.hosted.open import HostedAccess
from habla_ml.transcription.hypothesis_cache import read_hypotheses, read_usage, transcribe_cached
from habla_ml.transcription.open import open_transcriber
from habla_ml.transcription.options import DecodingOptions, EngineOptions, build_served_options

Progress = Callable[[str], None]
_LOG_EVERY = 20


@dataclass(frozen=True)
class EvaluatedModel:
    """A model that takes part: its artefact in the lake and the same files in a local folder."""

    name: str
    role: ModelRole
    artefact: str
    """Digest of what is decoded, e.g. the tree id of a CTranslate2 folder."""
    folder: Path | None
    """None for a service elsewhere."""
    checkpoint: str | None = None
    """Tree id of the checkpoint that it was converted from, where parity is to be measured."""
    checkpoint_folder: Path | None = None
    decoding: EngineOptions | None = None
    """Where it is not decoded as the settings say."""


@dataclass(frozen=True)
class EvaluationSets:
    """What everybody listens to."""

    test: Callable[[], Iterable[Utterance]]
    """Reads the test set anew, so that no audio is held."""
    out_of_domain: Sequence[Utterance] = ()
    non_speech: NonSpeechSet | None = None
    alignments: Alignments | None = None
    """Words' times set by hand: the clips that have them are heard once more, with word times, which takes longer."""


@dataclass(frozen=True)
class DecodedSets:
    """What one model made of them."""

    test: list[Hypothesis]
    out_of_domain: list[Hypothesis]
    non_speech: list[Hypothesis]
    timed: list[Hypothesis]
    resources: DecodingResources
    decoded: int
    """Clips that were not in the cache."""


def make_test_set_reader(lake: Lake, snapshot: Snapshot) -> Callable[[], Iterable[Utterance]]:
    """The test set of a snapshot."""
    return lambda: read_utterances(lake, snapshot, "test")


def decode_sets(
    lake: Lake, model: EvaluatedModel, sets: EvaluationSets, settings: EvaluationSettings, progress: Progress
) -> DecodedSets:
    """Decode with one model whatever its cache does not hold yet.

    Raises:
        EvaluationError: Its engine cannot work.
        LakeError: The cache cannot be read or written.
    """
    options = model.decoding or build_served_options(settings)
    known = len(read_hypotheses(lake, model.artefact, options))

    def decode(clips: Iterable[Clip], how: EngineOptions = options) -> list[Hypothesis]:
        access = HostedAccess(settings.hosted, lake, build_served_options(settings))
        decoder = open_transcriber(how, model.folder, settings.device, settings.cpu_threads, access)
        with closing(decoder) as transcriber:
            report_progress = _make_progress_callback(model.name, progress)
            return transcribe_cached(lake, model.artefact, transcriber, clips, progress=report_progress)

    test, general = decode(sets.test()), decode(sets.out_of_domain)
    silence = decode(sets.non_speech.clips) if sets.non_speech else []
    timed = []
    if sets.alignments is not None and isinstance(options, DecodingOptions):
        timed = decode(
            _select_aligned(sets.test(), sets.alignments), options.model_copy(update={"word_times": True})
        )
    return DecodedSets(
        test=test,
        out_of_domain=general,
        non_speech=silence,
        timed=timed,
        resources=_summarise_resources(read_usage(lake, model.artefact, options), settings),
        decoded=len(read_hypotheses(lake, model.artefact, options)) - known,
    )


def _select_aligned(clips: Iterable[Utterance], alignments: Alignments) -> Iterator[Utterance]:
    return (each for each in clips if is_aligned(alignments, each.segment_id, each.audio_sha256))


def measure_parity(
    lake: Lake, model: EvaluatedModel, sets: EvaluationSets, settings: EvaluationSettings, progress: Progress
) -> Parity | None:
    """Decode a sample of the test set with the artefact and with its checkpoint, both greedily.

    The beam of the service would hide or add differences that are not the conversion's. None where there is no
    checkpoint, no clip, or `parity_clips` is 0.
    """
    if model.checkpoint is None or model.checkpoint_folder is None:
        return None
    sample = _select_sample(sets.test(), settings.parity_clips)
    if not sample:
        return None
    greedy = build_served_options(settings).model_copy(update={"beam_size": 1, "batch_size": None})
    texts = []
    for artefact, folder, options in (
        (model.checkpoint, model.checkpoint_folder, greedy.model_copy(update={"engine": "transformers"})),
        (model.artefact, model.folder, greedy),
    ):
        decoder = open_transcriber(options, folder, settings.device, settings.cpu_threads)
        with closing(decoder) as transcriber:
            report_progress = _make_progress_callback(f"parity of {model.name}, {options.engine}", progress)
            texts.append(
                [each.text for each in transcribe_cached(lake, artefact, transcriber, sample, report_progress)]
            )
    sentences = [each.sentence for each in sample]
    scores = [score_utterances(sentences, each, normalise_spanish) for each in texts]
    units = [each.session_id for each in sample]
    (resample,) = make_draws(units, settings).resample(
        [stack_counts([[each.words for each in row] for row in scores])]
    )
    same = sum(normalise_spanish(one) == normalise_spanish(other) for one, other in zip(*texts, strict=True))
    return Parity(
        artefact=model.artefact,
        checkpoint=model.checkpoint,
        clips=len(sample),
        same_text_share=same / len(sample),
        points=to_interval(resample.point_change(0, 1)),
    )


def _select_sample(utterances: Iterable[Utterance], clips: int) -> list[Utterance]:
    """Always the same clips of a set, whatever their order; memory holds no more than these."""
    chosen: list[tuple[str, Utterance]] = []
    for each in utterances:
        chosen.append((compute_digest(each.segment_id), each))
        if len(chosen) > 2 * clips + 1:
            chosen = sorted(chosen, key=lambda pair: pair[0])[:clips]
    return [each for _, each in sorted(chosen, key=lambda pair: pair[0])[:clips]]


def _summarise_resources(used: Usage, settings: EvaluationSettings) -> DecodingResources:
    """Cost per hour of audio: what a service was paid, or computing time at the price of the settings."""
    cost = None
    if used.audio_s > 0 and used.cost_usd > 0:
        cost = used.cost_usd / used.audio_s * 3600
    elif used.audio_s > 0 and settings.compute_usd_per_hour is not None:
        cost = settings.compute_usd_per_hour * used.decode_s / used.audio_s
    return DecodingResources(
        peak_memory_bytes=used.peak_memory_bytes,
        peak_gpu_memory_bytes=used.peak_gpu_memory_bytes,
        cost_per_audio_hour_usd=cost,
    )


def _make_progress_callback(name: str, progress: Progress) -> Callable[[int, int], None]:
    def log(done: int, decoded: int) -> None:
        if decoded and done % _LOG_EVERY == 0:
            progress(f"{name}: {done} clips heard, {decoded} of them decoded now")

    return log
