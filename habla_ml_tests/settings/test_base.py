"""Values that no setting can have."""

from __future__ import annotations

from pathlib import Path

import pytest

from habla_ml.errors import SettingsError
from habla_ml.settings import load_settings

LOCAL = Path(__file__).resolve().parents[2] / "configs" / "local.yaml"


@pytest.mark.parametrize(
    "variable",
    [
        # Both ended every command, or the code location of Dagster, with an OverflowError.
        "HABLA_LAKE__CACHE_LIMIT_GB",
        "HABLA_MONITORING__LOOP__REVIEW_QUEUE_DAYS",
        # Nothing is below or above `.nan`, so no segment would have been quiet, and no bound met.
        "HABLA_EVALUATION__QUIET_BELOW_DBFS",
        "HABLA_EVALUATION__ACCEPTABLE__WER",
    ],
)
@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
def test_a_number_is_finite(variable: str, value: str) -> None:
    key = variable.removeprefix("HABLA_").lower().replace("__", ".")
    with pytest.raises(SettingsError, match=f"key {key}: is (-?inf|nan)"):
        load_settings(LOCAL, {variable: value})


@pytest.mark.parametrize("name", ["Europe", "é" * 300, "Madrid", ""])
def test_what_is_no_time_zone_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(SettingsError, match="is not an IANA time zone; an example is Europe/Madrid"):
        load_settings(LOCAL, {"HABLA_TIME_ZONE": f"'{name}'"})


@pytest.mark.parametrize("day", ["0001-01-01", "1969-12-31", "9999-12-31"])
def test_a_first_day_without_partitions_in_dagster_is_refused(day: str) -> None:
    # The first and the last one ended the code location with an OverflowError.
    with pytest.raises(SettingsError, match=r"key recordings\.first_day: .* expected a day from 1970-01-01 on"):
        load_settings(LOCAL, {"HABLA_RECORDINGS__FIRST_DAY": day})


def test_all_lessons_of_the_epoch_are_possible() -> None:
    assert load_settings(LOCAL, {"HABLA_RECORDINGS__FIRST_DAY": "1970-01-01"}).recordings.first_day == "1970-01-01"
