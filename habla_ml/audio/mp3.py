"""MP3 for listening in a browser: 3 kB for each second, which every browser plays."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from habla_ml.audio.decode import SAMPLE_RATE
from habla_ml.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_COMPRESSION: Final = 0.9
"""Of 0…1; a constant 24 kbit/s at 16 kHz."""


def encode_mp3(samples: NDArray[np.float32]) -> bytes:
    """Return an MP3 of 16 kHz mono samples in −1…1, shape [n_samples]; the same samples give the same bytes.

    Raises:
        InputError: There is no sample.
    """
    import soundfile

    if not len(samples):
        raise InputError("holds no samples to encode")
    out = io.BytesIO()
    soundfile.write(
        out,
        samples.clip(-1, 1),
        SAMPLE_RATE,
        format="MP3",
        subtype="MPEG_LAYER_III",
        compression_level=_COMPRESSION,
        bitrate_mode="CONSTANT",
    )
    return out.getvalue()
