"""One trial of a sweep: an ordinary training in its run folder, then a score as served. Nothing is published.

The score is the WER of the finished weights on the validation split in windows of 30 s, on the same clips in all trials.
The curve during training cannot decide: it uses short windows and the weights before `base_share`, and a recipe with
other batches may be validated on fewer clips. It prunes only.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from habla_ml.corpus.snapshot import Snapshot, Utterance, read_utterances
from habla_ml.lake import Lake
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.checkpoints import compute_word_error_rate
from habla_ml.training.clips import select_sample
from habla_ml.training.evaluation_audio import LONGEST_CLIP_S
from habla_ml.training.extra_speech import ExtraSpeech
from habla_ml.training.identity import RunIdentity
from habla_ml.training.recipe import HubStart, Recipe
from habla_ml.training.record import TrainedRun
from habla_ml.training.run import RunFolder, handle_foreign_runs, list_run_scratch, read_finished_run
from habla_ml.training.train import identify_training, train_in_folder
from habla_ml.training.trainer import Progress


@dataclass(frozen=True)
class SweepInputs:
    """What all trials of a sweep have in common."""

    lake: Lake
    snapshot: Snapshot
    recipe: Recipe
    """The recipe whose keys are changed."""
    start: HubStart | None
    """The model to continue from, where the settings have `training.continue_from`."""
    extra_speech: ExtraSpeech
    folder: Path
    """Study, results and the runs' folders; the caller holds its lock."""

    def add_start(self, recipe: Recipe) -> Recipe:
        """Return a trial's recipe with the model that it continues from."""
        return recipe.model_copy(update={"start": self.start or recipe.start})

    def identify(self, recipe: Recipe) -> tuple[RunIdentity | None, RunIdentity]:
        """Return the identities of the first stage, if there is one, and of the run of a trial's recipe."""
        return identify_training(self.lake, self.snapshot, recipe, resolve_base_model(recipe), self.extra_speech)

    def read_validation(self) -> list[Utterance]:
        """Return the validation clips that score every trial."""
        utterances = read_utterances(self.lake, self.snapshot, "validation")
        usable = (each for each in utterances if each.duration_s <= LONGEST_CLIP_S)
        return list(select_sample(usable, self.recipe.validation_clips))


def train_trial(inputs: SweepInputs, recipe: Recipe, progress: Callable[[Progress], None]) -> tuple[TrainedRun, Path]:
    """Train `recipe` or resume its run; return its record and the folder of the finished model.

    `progress` may raise to end the trial.

    Raises:
        TrainingError: There are no usable clips, the loss is not finite, or the memory is too small.
    """
    base = resolve_base_model(recipe)
    stage, identity = inputs.identify(recipe)
    for each in filter(None, (stage, identity)):
        handle_foreign_runs(inputs.folder, each, discard=True)
    folder = RunFolder(inputs.folder, identity)
    train_in_folder(inputs.lake, inputs.snapshot, recipe, base, stage, folder, progress, inputs.extra_speech)
    return read_finished_run(folder), folder.finished / "checkpoint"


def clear_runs(folder: Path, keep: Collection[RunIdentity] = ()) -> None:
    """Delete clips, checkpoints and models of all runs in `folder` but those in `keep`; curves in TensorBoard remain."""
    kept = {RunFolder(folder, each).root for each in keep}
    for root in sorted(path for path in folder.iterdir() if path.is_dir() and path not in kept):
        for scratch in list_run_scratch(root):
            shutil.rmtree(scratch, ignore_errors=True)


def score_as_served(checkpoint: Path, clips: list[Utterance]) -> float:
    """Return the WER of greedy decoding in windows of 30 s, by the rules of the validation during training."""
    import torch

    from habla_ml.transcription.options import DecodingOptions
    from habla_ml.transcription.transformers_engine import Transformers

    threads = torch.get_num_threads()
    try:
        engine = Transformers(checkpoint, DecodingOptions(engine="transformers", beam_size=1), "auto", threads)
        n_clips = engine.max_batch_clips
        batches = (clips[at : at + n_clips] for at in range(0, len(clips), n_clips))
        texts = [found.text for batch in batches for found in engine.transcribe(batch)]
    finally:
        torch.set_num_threads(threads)  # the next trial trains with the same number
    return compute_word_error_rate([each.sentence for each in clips], texts)
