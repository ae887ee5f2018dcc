"""Levels compared with values calculated by hand."""

from __future__ import annotations

import numpy as np
import pytest

from habla_ml.audio import SILENCE_DBFS, measure
from habla_ml.errors import InputError


def test_a_full_scale_square_wave_is_0_dbfs_and_all_clipped() -> None:
    found = measure(np.tile(np.array([32767, -32767], dtype=np.int16), 8000))
    assert (found.duration_s, found.loudness_dbfs, found.peak_dbfs, found.clipped_share) == (
        1.0,
        -0.0003,
        -0.0003,
        1.0,
    )


def test_half_scale_is_6_db_below_full_scale() -> None:
    found = measure(np.full(800, 16384, dtype=np.int16))
    assert found.duration_s == pytest.approx(0.05)
    assert found.loudness_dbfs == pytest.approx(20 * np.log10(0.5), abs=1e-4)
    assert found.clipped_share == 0


def test_loudness_is_the_root_mean_square_and_clipping_a_share() -> None:
    found = measure(np.array([-32768, 0, 0, 0], dtype=np.int16))
    assert found.loudness_dbfs == pytest.approx(20 * np.log10(0.5), abs=1e-4)
    assert found.peak_dbfs == 0
    assert found.clipped_share == 1 / 4


def test_the_most_negative_and_the_most_positive_sample_count_as_clipped() -> None:
    assert measure(np.array([32767, -32768, 32766], dtype=np.int16)).clipped_share == pytest.approx(2 / 3)


def test_digital_silence_has_the_lowest_level() -> None:
    found = measure(np.zeros(160, dtype=np.int16))
    assert found.loudness_dbfs == found.peak_dbfs == SILENCE_DBFS


def test_an_empty_array_is_refused() -> None:
    with pytest.raises(InputError, match="no samples"):
        measure(np.zeros(0, dtype=np.int16))
