"""Settings under `evaluation.hosted`."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from habla_ml.settings.hosted import HostedSettings


def test_nothing_is_on_by_default() -> None:
    settings = HostedSettings()
    assert [settings.google, settings.aws, settings.azure, settings.deepgram] == [None] * 4


def test_a_service_without_the_speakers_consent_is_refused() -> None:
    service: dict[str, Any] = {"deepgram": {"monthly_cap_usd": 5}}
    with pytest.raises(ValidationError, match=r"deepgram: recordings would be sent to a company.*speakers_agreed"):
        HostedSettings.model_validate(service)
    settings = HostedSettings.model_validate({**service, "speakers_agreed": True})
    assert settings.deepgram is not None
    assert settings.deepgram.region == "eu"


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ({"deepgram": {}}, "monthly_cap_usd"),
        ({"deepgram": {"monthly_cap_usd": 0}}, "greater than 0"),
        ({"aws": {"monthly_cap_usd": 5}}, "bucket"),
        ({"azure": {"monthly_cap_usd": 5, "endpoint": "http://speech.example.com"}}, "not an https:// address"),
        ({"azure": {"monthly_cap_usd": 5, "endpoint": "ftp://127.0.0.1"}}, "not an https:// address"),
        ({"azure": {"monthly_cap_usd": 5, "key": "abc"}}, "Extra inputs"),
        ({"azure": {"monthly_cap_usd": 5, "key_variable": "sk-live-1234"}}, "key_variable"),
        ({"azure": {"monthly_cap_usd": 5, "region": "eu/../x"}}, "region"),
        ({"google": {"monthly_cap_usd": 5, "attempts": 0}}, "attempts"),
    ],
)
def test_a_wrong_setting_is_named(service: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HostedSettings.model_validate({**service, "speakers_agreed": True})
