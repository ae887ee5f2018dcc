"""Telling somebody: an e-mail, a message to a webhook, or both, once for each thing that happened.

A delivery is noted in the lake after it succeeded, so one that failed is tried again by the next run and a crash in
between may tell twice, never not at all. Addresses of webhooks are secrets and come from the environment.
"""

from __future__ import annotations

import os
import smtplib
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import TYPE_CHECKING, Final

from habla_ml.errors import ServiceError
from habla_ml.lake import Lake, catalogue, compute_digest

if TYPE_CHECKING:
    from habla_ml.settings import AlertSettings, EmailSettings

_TIMEOUT_S: Final = 10.0
_WEBHOOK_ATTEMPTS: Final = 3
_WEBHOOK_PAUSE_S: Final = 0.5


@dataclass(frozen=True)
class Alert:
    """Something a person should know."""

    key: str
    """What happened, the same whenever it is noticed again: `drift/v3/2026-11-16`."""
    subject: str
    """One line."""
    text: str
    """What was measured, against which bound, and what to do."""


def send_once(
    alert: Alert, lake: Lake, settings: AlertSettings, environment: Mapping[str, str] = os.environ
) -> tuple[str, ...]:
    """Send `alert` on every configured way where it was not sent yet; returns the ways used now.

    Raises:
        ServiceError: A way is misconfigured, or did not take the message; the others were tried all the same.
    """
    used, faults = [], []
    for way, send in _select_senders(settings, environment).items():
        name = catalogue.ALERT.name(way, compute_digest(alert.key)[:32])
        seen = lake.read_pointer(name)
        if seen is not None:
            continue
        try:
            send(alert)
        except ServiceError as error:
            faults.append(str(error))
            continue
        lake.move_pointer(
            name, {"key": alert.key, "sent_at": datetime.now(UTC).isoformat(timespec="seconds")}, None
        )
        used.append(way)
    if faults:
        raise ServiceError(f"the alert {alert.key} was not delivered everywhere: {'; '.join(faults)}")
    return tuple(used)


def _select_senders(settings: AlertSettings, environment: Mapping[str, str]) -> dict[str, Callable[[Alert], None]]:
    ways: dict[str, Callable[[Alert], None]] = {}
    webhook, email = settings.webhook_variable, settings.email
    if webhook is not None:
        ways["webhook"] = lambda alert: _post_webhook(alert, webhook, environment)
    if email is not None:
        ways["email"] = lambda alert: _send_email(alert, email, environment)
    return ways


def _post_webhook(alert: Alert, variable: str, environment: Mapping[str, str]) -> None:
    """POST JSON whose `text` is what Slack, Mattermost and Teams show; no address or answer is quoted in errors."""
    import httpx

    url = environment.get(variable, "")
    if not url.startswith(("http://", "https://")):
        raise ServiceError(
            f"the environment variable {variable} holds no http(s) address; set it to the webhook's"
        )
    body = {"text": f"{alert.subject}\n{alert.text}", "subject": alert.subject, "key": alert.key}
    fault = ""
    for attempt in range(_WEBHOOK_ATTEMPTS):
        if attempt:
            time.sleep(_WEBHOOK_PAUSE_S * 2**attempt)
        try:
            answer = httpx.post(url, json=body, timeout=_TIMEOUT_S)
        except httpx.HTTPError as error:
            fault = f"the webhook in {variable} cannot be reached ({type(error).__name__})"
            continue
        if answer.is_success:
            return
        fault = f"the webhook in {variable} answered {answer.status_code}"
        if answer.status_code < 500 and answer.status_code != 429:
            break
    raise ServiceError(f"{fault}; check its address, the next run tries again")


def _send_email(alert: Alert, settings: EmailSettings, environment: Mapping[str, str]) -> None:
    message = EmailMessage()
    message["From"], message["To"] = settings.sender, ", ".join(settings.recipients)
    # A header holds one line, whatever a model version is called.
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
            f"the mail server {settings.host}:{settings.port} did not take the message ({type(error).__name__}); "
            f"check monitoring.alerts.email and {settings.password_variable}, the next run tries again"
        ) from error
