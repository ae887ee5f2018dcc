"""General speech for training: before the classroom data (first stage) or mixed with it (replay)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.general_speech import GeneralSpeech, check_training_leakage, read_general_speech
from habla_ml.corpus.snapshot import Snapshot
from habla_ml.lake import Lake
from habla_ml.settings import Settings
from habla_ml.training.plan import resolve_first_stage_sources
from habla_ml.training.recipe import Recipe

_NO_GENERAL_SPEECH = GeneralSpeech()


@dataclass(frozen=True)
class ExtraSpeech:
    """General speech that a version is trained on; its fields are keys of the settings' section `training`."""

    first_stage: GeneralSpeech = _NO_GENERAL_SPEECH
    replay: GeneralSpeech = _NO_GENERAL_SPEECH


def read_extra_speech(lake: Lake, snapshot: Snapshot, recipe: Recipe, settings: Settings) -> ExtraSpeech:
    """Read the general speech for training `recipe` on `snapshot`, with text under the corpus's conventions.

    Raises:
        SettingsError: Recipe and settings disagree about a first stage.
        InputError: A source cannot be read.
        CorpusError: A source has evaluation data: audio of the classroom's validation or test split, or of
            `evaluation.out_of_domain`.
    """
    sources = resolve_first_stage_sources(recipe, settings.training)
    if not sources and not settings.training.replay:
        return ExtraSpeech()
    read = partial(
        read_general_speech,
        conventions=load_conventions(settings.corpus.conventions),
        max_duration_s=settings.recordings.longest_segment_s,
        scratch=settings.work_folder,
        erased=read_tombstones(lake).sounds,
    )
    extra_speech = ExtraSpeech(read(sources), read(settings.training.replay))
    evaluation = read(settings.evaluation.out_of_domain).utterances
    for key, speech in vars(extra_speech).items():
        check_training_leakage(lake, snapshot, f"training.{key}", speech.utterances, evaluation)
    return extra_speech
