"""Settings of hosted speech recognition services: off until a service, a cap and the speakers' consent are set.

Secrets are in environment variables; the settings contain only their names. The prices are public list prices of the
year that each class names; set `usd_per_minute` from the price list of your account.
"""

from __future__ import annotations

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from habla_ml.settings.base import EnvironmentVariable, SettingsSection

_LOCAL_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


def _require_https(url: str) -> str:
    parts = urlsplit(url)
    if not parts.hostname or (
        parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL_HOSTS)
    ):
        raise ValueError(f"{url!r} is not an https:// address; use one, because voices and keys are sent to it")
    return url.rstrip("/")


Endpoint = Annotated[str, AfterValidator(_require_https)]
Region = Annotated[str, Field(pattern=r"^[a-z0-9-]{2,40}$")]


class HostedServiceSettings(SettingsSection):
    """Address, price and timeouts of a service.

    A call bills the clip's duration, at least `billed_minimum_s`, rounded up to a multiple of `billed_step_s`. A call that
    could raise the cost of a calendar month (UTC) above `monthly_cap_usd` is not made. A call without an answer within
    `timeout_s`, or to a busy service, is repeated up to `attempts` times. The pauses double from `first_pause_s`, or are
    those that the service requests. With `fallback`, the local engine decodes the clips of a service that is down.
    """

    endpoint: Endpoint | None = None
    region: Region
    usd_per_minute: Annotated[float, Field(ge=0)]
    billed_step_s: Annotated[float, Field(gt=0)] = 1.0
    billed_minimum_s: Annotated[float, Field(ge=0)] = 0.0
    monthly_cap_usd: Annotated[float, Field(gt=0)]
    timeout_s: Annotated[float, Field(gt=0)] = 20.0
    attempts: Annotated[int, Field(ge=1, le=10)] = 4
    first_pause_s: Annotated[float, Field(gt=0)] = 0.5
    calls_at_once: Annotated[int, Field(ge=1, le=64)] = 8
    fallback: bool = False


class GoogleSettings(HostedServiceSettings):
    """Google Speech-to-Text v2; the variable names a service account's JSON file.

    0.016 USD a minute, billed by the second: standard models up to 500,000 minutes a month, list price of 2025
    (cloud.google.com/speech-to-text/pricing). The region `eu` keeps the audio in the European Union.
    """

    region: Region = "eu"
    usd_per_minute: Annotated[float, Field(ge=0)] = 0.016
    credentials_variable: EnvironmentVariable = "GOOGLE_APPLICATION_CREDENTIALS"


class AwsSettings(HostedServiceSettings):
    """Amazon Transcribe, as batch jobs with your own bucket.

    0.024 USD a minute, billed by the second but at least 15 s a job: list price of 2025
    (aws.amazon.com/transcribe/pricing). A job takes about ten seconds whatever its length, so many run in parallel.
    `endpoint` is for both Transcribe and S3.
    """

    region: Region = "eu-central-1"
    usd_per_minute: Annotated[float, Field(ge=0)] = 0.024
    billed_minimum_s: Annotated[float, Field(ge=0)] = 15.0
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    calls_at_once: Annotated[int, Field(ge=1, le=64)] = 16
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    prefix: Annotated[str, Field(pattern=r"^([A-Za-z0-9_-]+/)*$")] = "habla-ml/"
    poll_s: Annotated[float, Field(gt=0)] = 2.0
    access_key_variable: EnvironmentVariable = "AWS_ACCESS_KEY_ID"
    secret_key_variable: EnvironmentVariable = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 (the name of a variable)
    session_token_variable: EnvironmentVariable | None = None


class AzureSettings(HostedServiceSettings):
    """Azure Speech, its fast transcription; the variable holds a key of the resource.

    0.36 USD an hour, billed by the second: list price of 2025 (azure.microsoft.com/pricing, Speech).
    """

    region: Region = "westeurope"
    usd_per_minute: Annotated[float, Field(ge=0)] = 0.006
    key_variable: EnvironmentVariable = "AZURE_SPEECH_KEY"


class DeepgramSettings(HostedServiceSettings):
    """Deepgram; the variable holds an API key. Every call opts out of Deepgram's training.

    0.0043 USD a minute, billed by the second: recorded audio, Nova-3, one language, pay as you go, as quoted in 2026
    (deepgram.com/pricing). Calls that opt out of training may cost more: see your account.
    The region `eu` keeps the audio in the European Union; `global` does not.
    """

    region: Annotated[str, Field(pattern=r"^(eu|global)$")] = "eu"
    usd_per_minute: Annotated[float, Field(ge=0)] = 0.0043
    key_variable: EnvironmentVariable = "DEEPGRAM_API_KEY"


class HostedSettings(SettingsSection):
    """The hosted services that may be used.

    `speakers_agreed` states that all speakers, and the guardians of minors, agreed that their voices are sent to the
    service, and that a contract on data processing with the service exists.
    """

    speakers_agreed: bool = False
    google: GoogleSettings | None = None
    aws: AwsSettings | None = None
    azure: AzureSettings | None = None
    deepgram: DeepgramSettings | None = None

    @model_validator(mode="after")
    def _require_consent(self) -> Self:
        named = [name for name in type(self).model_fields if isinstance(getattr(self, name), HostedServiceSettings)]
        if named and not self.speakers_agreed:
            raise ValueError(
                f"{', '.join(named)}: recordings would be sent to a company; read docs/hosted_engines.md, and set "
                "speakers_agreed: true after all speakers, and the guardians of minors, agreed to it"
            )
        return self
