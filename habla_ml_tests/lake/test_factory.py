"""How a client of S3 is made from the settings."""

from __future__ import annotations

from typing import Any

import pytest

from habla_ml.defs.s3 import s3_store
from habla_ml.lake.factory import create_s3_client
from habla_ml.settings import StoreSettings


@pytest.mark.parametrize(
    ("endpoint", "addressing", "host"),
    [
        ("http://127.0.0.1:9", "path", "http://127.0.0.1:9"),
        (None, "auto", "https://s3.eu-south-2.amazonaws.com"),
    ],
)
def test_the_client_has_the_place_and_bounds_of_the_settings(
    endpoint: str | None, addressing: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-1")
    place = StoreSettings(url="s3://bucket/lake", endpoint_url=endpoint, region="eu-south-2")
    for client in (create_s3_client(place), s3_store(place, "cache").client()):  # of a command, and of Dagster
        config: Any = client.meta.config
        assert (client.meta.region_name, client.meta.endpoint_url) == ("eu-south-2", host)
        assert config.s3["addressing_style"] == addressing
        assert (config.connect_timeout, config.read_timeout) == (10, 60)
        assert (config.retries["mode"], config.retries["total_max_attempts"]) == ("standard", 5)
