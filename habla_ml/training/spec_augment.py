"""SpecAugment within the clips of a batch.

Transformers masks positions of the whole window, of which most may be padding, with NumPy's global generator. Here the masks
of a use lie on its clip and depend only on the recipe's seed, the clip and the pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from habla_ml.training.recipe import SpecAugment
from habla_ml.training.schedule import ClipUse

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STREAM: Final = 0x63


class FeatureMasker:
    """Draws the masked features of uses of clips; spans may overlap.

    Args:
        settings: The recipe's section.
        seed: The recipe's seed.
        n_mels: Mel bands of the model's features.
    """

    def __init__(self, settings: SpecAugment, seed: int, n_mels: int) -> None:
        self._settings, self._seed, self._n_mels = settings, seed, n_mels

    def draw(self, use: ClipUse, n_clip_frames: int) -> NDArray[np.bool_]:
        """Return which features of a use are masked, shape [mels, frames of its window]; none after its clip."""
        settings = self._settings
        rng = np.random.default_rng((self._seed, _STREAM, use.pass_number, use.clip))
        masked = np.zeros((self._n_mels, use.n_frames), np.bool_)
        clip = masked[:, :n_clip_frames]
        clip |= draw_spans(clip.shape[1], settings.mask_time_prob, settings.mask_time_length, rng)
        clip |= draw_spans(self._n_mels, settings.mask_feature_prob, settings.mask_feature_length, rng)[:, None]
        return masked


def draw_spans(n: int, share: float, length: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return `n` positions of which spans of `length`, as many as cover `share` without overlaps, are true.

    The number is rounded up or down at random, so that its mean holds for short clips too.
    """
    masked = np.zeros(n, np.bool_)
    for first in rng.integers(0, max(1, n - length + 1), int(share * n / length + rng.random())):
        masked[first : first + length] = True
    return masked
