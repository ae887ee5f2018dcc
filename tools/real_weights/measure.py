"""The figures of a run, collected from the stored comparison and measured where the report has none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any, Final

from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.general_speech import read_general_speech
from habla_ml.corpus.snapshot import Utterance
from habla_ml.evaluation.comparison.decoding import EvaluatedModel
from habla_ml.evaluation.comparison.models_under_test import prepare_evaluated_models
from habla_ml.evaluation.comparison.profile_scores import select_clips
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
from habla_ml.evaluation.comparison.test_speech import TEST, load_test_speech
from habla_ml.evaluation.metrics.alignments import read_alignments
from habla_ml.lake import Lake
from habla_ml.settings import Settings
from habla_ml.transcription.hypothesis_cache import transcribe_cached
from habla_ml.transcription.open import open_transcriber
from habla_ml.transcription.options import DecodingOptions
from habla_ml.transcription.serving_profiles import build_profile_options
from habla_ml.virtual_environments import is_installed, sibling_environment
from tools.real_weights.digits import score_digits
from tools.real_weights.loop import VERSION
from tools.real_weights.plan import RealPlan
from tools.real_weights.prompts import measure_prompts

_WHISPERX: Final = "whisperx"
_WHISPERX_TIMEOUT_S: Final = 600.0


def measure_everything(lake: Lake, settings: Settings, plan: RealPlan, log: Callable[[str], None]) -> dict[str, Any]:
    """Return all figures of the version beside those of its base, as JSON values."""
    comparison = read_stored_comparison(lake, VERSION)
    models = prepare_evaluated_models(lake, None, VERSION, settings, log)
    speech = load_test_speech(TEST, lake, settings)
    log("digits and the normaliser: decoded texts are in the cache")
    digits = [_score_digits(lake, settings, each, speech.read()) for each in models]
    sets = _choose_clips(lake, speech.read(), settings, plan.prompt_clips)
    log(f"both prompts on {sum(map(len, sets.values()))} clips, two models")
    alignments = settings.evaluation.alignments
    prompts = measure_prompts(
        {each.name: each.folder for each in models if each.folder is not None},
        sets,
        {} if alignments is None else read_alignments(alignments),
        settings.evaluation.bootstrap_draws,
        settings.evaluation.seed,
    )
    return {
        "version": VERSION,
        "test": {
            "clips": comparison.test.utterances,
            "sessions": comparison.test.sessions,
            "words": comparison.test.words,
        },
        "models": [_describe_model(comparison, each.name) for each in comparison.models],
        "prompts": [asdict(each) for each in prompts],
        "digits": [asdict(each) for each in digits],
        "parity_int8": None if comparison.parity is None else comparison.parity.model_dump(mode="json"),
        "formats": [
            {
                "format": each.format,
                "quantisation": each.quantisation,
                "size_bytes": each.size_bytes,
                "clips": each.clips,
                "wer": each.wer.value,
                "served_wer": each.served_wer.value,
                "parity": each.parity,
            }
            for each in (comparison.formats.scores if comparison.formats else ())
        ],
        "skipped_formats": [each.model_dump() for each in (comparison.formats.skipped if comparison.formats else ())],
        "profiles": [
            {"profile": each.profile, "wer": each.wer.value, "empty": each.empty}
            for each in (comparison.profiles.scores if comparison.profiles else ())
        ],
        _WHISPERX: _measure_whisperx(lake, models, sets, plan, log),
        "hardware": comparison.provenance.hardware,
    }


def _describe_model(comparison: Comparison, name: str) -> dict[str, Any]:
    score = next(each for each in comparison.models if each.name == name)
    silence, timing = score.hallucination, score.word_timing
    interval = score.wer.interval
    return {
        "model": name,
        "wer": score.wer.value,
        "wer_interval": None if interval is None else [interval.low, interval.high],
        "metrics": {key: [value.value, value.low, value.high] for key, value in score.metrics.items()},
        "silent_clips": None if silence is None else silence.non_speech.of,
        "silent_clips_with_text": None if silence is None else silence.non_speech.count,
        "word_time_error_ms": timing.mean_absolute_ms.value if timing and timing.mean_absolute_ms else None,
        "timed_words": timing.matched_words if timing else None,
    }


def _score_digits(lake: Lake, settings: Settings, model: EvaluatedModel, clips: Any) -> Any:
    options = build_profile_options(settings.evaluation.serving_profile, settings.evaluation)
    utterances = list(clips)
    with closing(open_transcriber(options, model.folder, settings.evaluation.device)) as transcriber:
        decoded = transcribe_cached(lake, model.artefact, transcriber, utterances)
    return score_digits(model.name, [each.sentence for each in utterances], [each.text for each in decoded])


def _choose_clips(lake: Lake, test: Any, settings: Settings, most: int) -> dict[str, list[Utterance]]:
    """Return up to `most` clips of the classroom, chosen by hash, and as many of general Spanish."""
    utterances = {each.segment_id: each for each in test}
    _, chosen = select_clips(utterances.values(), most)
    general = read_general_speech(
        settings.evaluation.out_of_domain,
        load_conventions(settings.corpus.conventions),
        settings.recordings.longest_segment_s,
        settings.work_folder,
        read_tombstones(lake).sounds,
    )
    return {
        "classroom": [each for key, each in utterances.items() if key in chosen],
        "general Spanish": list(general.utterances[:most]),
    }


def _measure_whisperx(
    lake: Lake,
    models: Sequence[EvaluatedModel],
    sets: dict[str, list[Utterance]],
    plan: RealPlan,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Decode a few clips with Habla's own WhisperX where `habla-ml install-whisperx` was run."""
    if not is_installed(sibling_environment(_WHISPERX)):
        reason = "WhisperX was not run: .venv-whisperx does not exist; `habla-ml install-whisperx` makes it (8 GB)"
        log(reason)
        return {"skipped": reason}
    options = DecodingOptions(engine=_WHISPERX, clip_timeout_s=_WHISPERX_TIMEOUT_S)
    clips = sets["classroom"][: plan.whisperx_clips]
    log(f"WhisperX on {len(clips)} clips, two models")
    found: dict[str, Any] = {}
    for model in models:
        with closing(open_transcriber(options, model.folder, "cpu")) as transcriber:
            decoded = transcribe_cached(lake, model.artefact, transcriber, clips)
        score = score_digits(model.name, [each.sentence for each in clips], [each.text for each in decoded])
        found[model.name] = {"wer": score.wer, "failures": sum(each.failure is not None for each in decoded)}
    return {"clips": len(clips), "models": found}
