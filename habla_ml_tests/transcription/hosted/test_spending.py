"""The cost of a call, and the monthly sum that parallel runs share."""

from __future__ import annotations

import itertools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from habla_ml.errors import LakeError
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.settings.hosted import AwsSettings, AzureSettings, DeepgramSettings, GoogleSettings
from habla_ml.transcription.hosted.spending import CapReachedError, Spending, compute_call_cost_usd
from habla_ml_tests.transcription.hosted.conftest import spent_usd

GOOGLE = GoogleSettings(monthly_cap_usd=1)
AWS = AwsSettings(monthly_cap_usd=1, bucket="bucket")
BY_15_S = GoogleSettings(monthly_cap_usd=1, usd_per_minute=0.024, billed_step_s=15)


@pytest.mark.parametrize(
    ("settings", "duration_s", "usd"),
    [
        (GOOGLE, 3.0, 3 / 60 * 0.016),
        (GOOGLE, 3.00001, 3 / 60 * 0.016),
        (GOOGLE, 3.01, 4 / 60 * 0.016),
        (GOOGLE, 0.2, 1 / 60 * 0.016),
        (AWS, 3.0, 15 / 60 * 0.024),
        (AWS, 15.0, 15 / 60 * 0.024),
        (AWS, 15.5, 16 / 60 * 0.024),
        (BY_15_S, 3.0, 0.006),
        (BY_15_S, 15.2, 0.012),
        (AzureSettings(monthly_cap_usd=1), 60.0, 0.006),
        (DeepgramSettings(monthly_cap_usd=1), 60.0, 0.0043),
    ],
)
def test_a_call_costs_its_billed_steps(settings: Any, duration_s: float, usd: float) -> None:
    assert compute_call_cost_usd(settings, duration_s) == pytest.approx(usd, abs=1e-12)


def test_a_reservation_counts_until_it_is_refunded(lake: Lake) -> None:
    spending = Spending(lake, "google", 1.0, lambda: datetime(2026, 11, 30, 23, 59, tzinfo=UTC))
    month = spending.reserve(0.7)
    assert (month, spent_usd(lake, "google", month)) == ("2026-11", 0.7)
    with pytest.raises(CapReachedError, match=r"0.4000 USD more, 0.7000 USD are spent or reserved in 2026-11.* is 1"):
        spending.reserve(0.4)
    spending.refund(month, 0.5)
    assert spent_usd(lake, "google", month) == 0.2
    spending.reserve(0.8)
    assert spent_usd(lake, "google", month) == 1.0


def test_each_month_and_each_service_has_its_own_sum(lake: Lake) -> None:
    november = Spending(lake, "google", 1.0, lambda: datetime(2026, 11, 30, 23, 59, tzinfo=UTC))
    december = Spending(lake, "google", 1.0, lambda: datetime(2026, 12, 1, tzinfo=UTC))
    month = november.reserve(1.0)
    december.reserve(1.0)
    Spending(lake, "azure", 1.0, lambda: datetime(2026, 12, 1, tzinfo=UTC)).reserve(1.0)
    december.refund(month, 0.25)
    assert [spent_usd(lake, "google", each) for each in ("2026-11", "2026-12")] == [0.75, 1.0]
    assert sorted(lake.list_pointers("spending/")) == [
        "spending/azure/2026-12",
        "spending/google/2026-11",
        "spending/google/2026-12",
    ]


def test_many_small_sums_reach_the_cap_exactly(lake: Lake) -> None:
    spending = Spending(lake, "google", 1.0)
    for _ in range(100):
        month = spending.reserve(0.01)
    assert spent_usd(lake, "google", month) == 1.0
    with pytest.raises(CapReachedError):
        spending.reserve(0.01)


def spend(folder: Path) -> int:
    """Reserve from three threads until the cap is reached; return the number of reservations."""
    spending = Spending(Lake(DirectoryStore(folder), folder.parent / "cache"), "aws", 0.3)

    def count_reservations(_: int) -> int:
        for count in itertools.count():
            try:
                spending.reserve(0.01)
            except CapReachedError:
                return count
        raise AssertionError

    with ThreadPoolExecutor(3) as threads:
        return sum(threads.map(count_reservations, range(3)))


@pytest.mark.long
def test_two_runs_at_once_spend_the_cap_once(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as runs:
        assert sum(runs.map(spend, [tmp_path / "lake"] * 2)) == 30


@pytest.mark.parametrize("value", [{}, {"spent_usd": "3"}, {"spent_usd": -1}, {"spent_usd": True}])
def test_an_invalid_sum_allows_no_reservation(lake: Lake, value: dict[str, Any]) -> None:
    spending = Spending(lake, "google", 1.0)
    month = f"{datetime.now(UTC):%Y-%m}"
    lake.move_pointer(f"spending/google/{month}", value, None)
    with pytest.raises(LakeError, match="has no valid sum"):
        spending.reserve(0.01)
