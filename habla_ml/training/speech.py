"""General speech of a training as the settings name it: before the classroom's (first stage), beside it (replay)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.general_speech import GeneralSpeech, read_general_speech, refuse_tested_sounds
from habla_ml.corpus.snapshot import Snapshot
from habla_ml.lake import Lake
from habla_ml.settings import Settings
from habla_ml.training.plan import first_stage_sources
from habla_ml.training.recipe import Recipe

_NOTHING = GeneralSpeech()


@dataclass(frozen=True)
class HeardSpeech:
    """General speech that a version hears."""

    first_stage: GeneralSpeech = _NOTHING
    replay: GeneralSpeech = _NOTHING


def read_heard_speech(lake: Lake, snapshot: Snapshot, recipe: Recipe, settings: Settings) -> HeardSpeech:
    """The general speech that training `recipe` on `snapshot` hears, its text under the corpus's conventions.

    Raises:
        SettingsError: Recipe and settings disagree about a first stage.
        InputError: A source cannot be read.
        CorpusError: A source holds what judges the model: a sound of the classroom's validation or test split, or
            of `evaluation.out_of_domain`.
    """
    sources = first_stage_sources(recipe, settings.training)
    if not sources and not settings.training.replay:
        return HeardSpeech()
    read = partial(
        read_general_speech,
        conventions=load_conventions(settings.corpus.conventions),
        longest_s=settings.recordings.longest_segment_s,
        scratch=settings.work_folder,
        erased=read_tombstones(lake).sounds,
    )
    heard = HeardSpeech(read(sources), read(settings.training.replay))
    measured = read(settings.evaluation.out_of_domain).utterances
    for key, speech in (("training.first_stage", heard.first_stage), ("training.replay", heard.replay)):
        refuse_tested_sounds(lake, snapshot, key, speech.utterances, measured)
    return heard
