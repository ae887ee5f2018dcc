"""The clips of a validation: speech of the class, and small fixed samples of general speech and of clips without speech.

General speech is a part of `training.replay` that is not trained on, never of the out-of-domain test set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from habla_ml.audio import quantise
from habla_ml.training.checkpoints import compute_word_error_rate
from habla_ml.training.clips import ClipStore, NonSpeech
from habla_ml.training.validation import ValidationPlan

if TYPE_CHECKING:
    from habla_ml.corpus.snapshot import Utterance


@dataclass(frozen=True)
class GuardClips:
    """Clips that show whether a run forgets general speech or silence."""

    general: tuple[Utterance, ...]
    non_speech: NonSpeech


@dataclass(frozen=True)
class ValidationGroups:
    """How many clips of a validation, in this order, are of the class, of general speech and without speech."""

    n_class: int
    n_general: int = 0
    n_non_speech: int = 0

    def describe(self) -> str:
        """Return the groups in words."""
        text = f"{self.n_class} for validation"
        if self.n_general or self.n_non_speech:
            text += f" with {self.n_general} of general speech and {self.n_non_speech} without speech"
        return text

    def summarise(self, clips: Sequence[int], references: Sequence[str], hypotheses: Sequence[str]) -> dict[str, float]:
        """Return `wer` of the class and, where there are such clips, `general_wer` and `invented`.

        Args:
            clips: Indices of the clips of the texts.
            references: Their texts.
            hypotheses: Decoded texts; empty where the served model would write none.
        """
        order = np.argsort(clips, kind="stable")
        refs, hyps = [references[at] for at in order], [hypotheses[at] for at in order]
        last = self.n_class + self.n_general
        found = {"wer": compute_word_error_rate(refs[: self.n_class], hyps[: self.n_class])}
        if self.n_general:
            found["general_wer"] = compute_word_error_rate(refs[self.n_class : last], hyps[self.n_class : last])
        if silent := hyps[last:]:
            found["invented"] = sum(bool(each.strip()) for each in silent) / len(silent)
        return found


def choose_validation_clips(
    sample: ClipStore, guards: ClipStore | None, plan: ValidationPlan
) -> tuple[ClipStore, ValidationGroups]:
    """Return the clips of each validation, and their groups.

    Args:
        sample: Clips of the class.
        guards: Clips of general speech, then clips without speech; None validates on the class alone.
        plan: How many of each are used.
    """
    sample = sample.take(plan.n_clips)
    if guards is None:
        return sample, ValidationGroups(len(sample))
    n_general, n_non_speech = (plan.cut_guards(n) for n in (guards.n_speech, len(guards) - guards.n_speech))
    non_speech = range(guards.n_speech, guards.n_speech + n_non_speech)
    joined = _join_clips((sample, range(len(sample))), (guards, range(n_general)), (guards, non_speech))
    return joined, ValidationGroups(len(sample), n_general, n_non_speech)


def _join_clips(*parts: tuple[ClipStore, range]) -> ClipStore:
    """Return these clips of each store as one store in memory, with the usual form of targets."""
    chosen = [(store, clip) for store, clips in parts for clip in clips]
    samples = [quantise(store.audio(clip)) for store, clip in chosen]
    labels = [np.array(store.label_ids(clip), np.int32) for store, clip in chosen]
    return ClipStore(
        samples=np.concatenate(samples),
        starts=np.cumsum([0, *map(len, samples)]),
        labels=np.concatenate(labels),
        label_starts=np.cumsum([0, *map(len, labels)]),
        n_speech=sum(clip < store.n_speech for store, clip in chosen),
        skipped={},
    )
