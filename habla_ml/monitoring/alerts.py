"""Alerts by e-mail and webhook, once for each event.

A successful delivery is recorded afterwards: in the lake by `send_once`, elsewhere by the caller of `deliver`. The next run
repeats a failed delivery, and a crash in between can send an alert twice, but never not at all. Webhook addresses are
secrets and come from the environment.
"""

from __future__ import annotations

import os
import smtplib
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import TYPE_CHECKING, Final

from habla_ml.errors import IsolatedError, ServiceError, isolate
from habla_ml.lake import Lake, catalogue, compute_digest

if TYPE_CHECKING:
    from habla_ml.settings.models import AlertSettings, EmailSettings

_TIMEOUT_S: Final = 10.0
_SLOW_S: Final = 2.0
_WEBHOOK_ATTEMPTS: Final = 3
_WEBHOOK_PAUSE_S: Final = 0.5


@dataclass(frozen=True)
class Alert:
    """A message about one event."""

    key: str
    """Identifies the event: `drift/v3/2026-11-16`."""
    subject: str
    text: str


@dataclass(frozen=True)
class DeliveryAttempt:
    """The result of sending an alert by one channel."""

    channel: str
    fault: str = ""
    """Why the channel refused it; empty where it was delivered."""
    is_slow: bool = False
    """Whether the refusal took so long that another one could use up the time of a sensor's tick."""


def list_channels(settings: AlertSettings) -> tuple[str, ...]:
    """Return the names of the configured channels."""
    return tuple(_select_senders(settings, {}))


def deliver(
    alert: Alert, settings: AlertSettings, delivered: Collection[str] = (), environment: Mapping[str, str] = os.environ
) -> Iterator[DeliveryAttempt]:
    """Send `alert` by every configured channel outside `delivered`, and yield each result at once.

    The caller records a delivery where it keeps its alerts. A refusing channel does not stop the others.
    """
    for channel, send in _select_senders(settings, environment).items():
        if channel in delivered:
            continue
        errors: list[IsolatedError] = []
        started = time.monotonic()
        with isolate(channel, errors):
            send(alert)
        is_slow = bool(errors) and time.monotonic() - started > _SLOW_S
        yield DeliveryAttempt(channel, errors[0].message if errors else "", is_slow)


def send_once(
    alert: Alert, lake: Lake, settings: AlertSettings, environment: Mapping[str, str] = os.environ
) -> tuple[str, ...]:
    """Send `alert` by every configured channel that has not sent it yet, and return the channels used now.

    Raises:
        ServiceError: A channel is misconfigured or refused the message; the other channels were used nevertheless.
    """
    names = {each: catalogue.ALERT.name(each, compute_digest(alert.key)[:32]) for each in list_channels(settings)}
    delivered = {channel for channel, name in names.items() if lake.read_pointer(name) is not None}
    used, faults = [], []
    for attempt in deliver(alert, settings, delivered, environment):
        if attempt.fault:
            faults.append(attempt.fault)
            continue
        sent = {"key": alert.key, "sent_at": datetime.now(UTC).isoformat(timespec="seconds")}
        lake.move_pointer(names[attempt.channel], sent, None)
        used.append(attempt.channel)
    if faults:
        raise ServiceError(f"the alert {alert.key} was not delivered everywhere: {'; '.join(faults)}")
    return tuple(used)


def _select_senders(settings: AlertSettings, environment: Mapping[str, str]) -> dict[str, Callable[[Alert], None]]:
    senders: dict[str, Callable[[Alert], None]] = {}
    webhook, email = settings.webhook_variable, settings.email
    if webhook is not None:
        senders["webhook"] = lambda alert: _post_webhook(alert, webhook, environment)
    if email is not None:
        senders["email"] = lambda alert: _send_email(alert, email, environment)
    return senders


def _post_webhook(alert: Alert, variable: str, environment: Mapping[str, str]) -> None:
    """POST JSON with the `text` that Slack, Mattermost and Teams show; errors quote no address and no response."""
    import httpx

    url = environment.get(variable, "")
    if not url.startswith(("http://", "https://")):
        raise ServiceError(
            f"the environment variable {variable} is not an http(s) address; set it to the address of the webhook"
        )
    body = {"text": f"{alert.subject}\n{alert.text}", "subject": alert.subject, "key": alert.key}
    fault = ""
    for attempt in range(_WEBHOOK_ATTEMPTS):
        if attempt:
            time.sleep(_WEBHOOK_PAUSE_S * 2**attempt)
        try:
            answer = httpx.post(url, json=body, timeout=_TIMEOUT_S)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            fault = f"the webhook in {variable} cannot be reached ({type(error).__name__})"
            if isinstance(error, httpx.TimeoutException):
                break  # the next run asks again; a sensor's tick has no time for three of these
            continue
        if answer.is_success:
            return
        fault = f"the webhook in {variable} responded with HTTP {answer.status_code}"
        if answer.status_code < 500 and answer.status_code != 429:
            break
    raise ServiceError(f"{fault}; check its address; the next run sends the alert again")


def _send_email(alert: Alert, settings: EmailSettings, environment: Mapping[str, str]) -> None:
    message = EmailMessage()
    message["From"], message["To"] = settings.sender, ", ".join(settings.recipients)
    # A header is one line, whatever the name of the model version.
    message["Subject"] = " ".join(alert.subject.split())
    message.set_content(alert.text)
    try:
        with smtplib.SMTP(settings.host, settings.port, timeout=_TIMEOUT_S) as server:
            if settings.starttls:
                server.starttls(context=ssl.create_default_context())
            if settings.user is not None:
                server.login(settings.user, environment.get(settings.password_variable, ""))
            server.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        raise ServiceError(
            f"the mail server {settings.host}:{settings.port} refused the message ({type(error).__name__}); check "
            f"monitoring.alerts.email and {settings.password_variable}; the next run sends the alert again"
        ) from error
