"""General speech for training: before the classroom data (first stage) or mixed with it (replay).

Nothing that a training reads is evaluation data: see `training.evaluation_audio`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.general_speech import GeneralSpeech, count_evaluation_audio, read_general_speech
from habla_ml.corpus.snapshot import Snapshot
from habla_ml.lake import Lake
from habla_ml.settings import Settings
from habla_ml.training.evaluation_audio import EvaluationAudio, find_classroom_copies, leave_out_evaluation_audio
from habla_ml.training.plan import resolve_first_stage_sources
from habla_ml.training.recipe import Recipe

_NO_GENERAL_SPEECH = GeneralSpeech()


@dataclass(frozen=True)
class ExtraSpeech:
    """General speech that a version is trained on, and the classroom's audio that it is not trained on."""

    first_stage: GeneralSpeech = _NO_GENERAL_SPEECH
    replay: GeneralSpeech = _NO_GENERAL_SPEECH
    classroom_copies: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """`train` or `non-speech` → sha256 of the sounds to leave out, because they nearly equal evaluation data."""

    def describe_left_out(self) -> str:
        """Return how many clips of each part of the training data were left out as evaluation audio; empty if none."""
        counts = {part: len(sounds) for part, sounds in self.classroom_copies.items()}
        for key, speech in (("training.first_stage", self.first_stage), ("training.replay", self.replay)):
            counts[key] = count_evaluation_audio(speech.sources)
        return ", ".join(f"{count} clips of {part}" for part, count in counts.items() if count)

    @property
    def excluded_sounds(self) -> frozenset[str]:
        """All sounds in `classroom_copies`."""
        return frozenset().union(*self.classroom_copies.values())


def read_extra_speech(lake: Lake, snapshot: Snapshot, recipe: Recipe, settings: Settings) -> ExtraSpeech:
    """Read the general speech for training `recipe` on `snapshot`, with text under the corpus's conventions.

    Audio of evaluation data and its altered copies are left out and counted.

    Raises:
        SettingsError: Recipe and settings disagree about a first stage.
        InputError: A source cannot be read.
        CorpusError: A source has so much evaluation data that it is probably the test set.
    """
    sources = resolve_first_stage_sources(recipe, settings.training)
    read = partial(
        read_general_speech,
        conventions=load_conventions(settings.corpus.conventions),
        max_duration_s=settings.recordings.longest_segment_s,
        scratch=settings.work_folder,
        erased=read_tombstones(lake).sounds,
    )
    evaluation = EvaluationAudio(
        lake, snapshot, read(settings.evaluation.out_of_domain).utterances, settings.evaluation.non_speech
    )
    return ExtraSpeech(
        leave_out_evaluation_audio("training.first_stage", read(sources), evaluation),
        leave_out_evaluation_audio("training.replay", read(settings.training.replay), evaluation),
        find_classroom_copies(evaluation, with_non_speech=recipe.non_speech_share > 0),
    )
