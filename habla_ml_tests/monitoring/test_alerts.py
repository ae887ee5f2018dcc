"""Alerts over real connections: a web server and a mail server on this machine."""

from __future__ import annotations

import email
import email.policy
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from habla_ml.errors import ServiceError
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.monitoring.alerts import Alert, send_once
from habla_ml.settings.models import AlertSettings, EmailSettings
from habla_ml_tests.testing.webhook_server import webhook

__all__ = ["webhook"]

# The test sends a password without encryption, on this machine only.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH")

ALERT = Alert("drift/v3/2026-11-16", "v3 makes more errors\nthan before", "Word error rate: 31.0 %.\nListen to año 1.")
UNREACHABLE_URL = "http://127.0.0.1:9/hook"


class Mailbox:
    """A mail server for one user."""

    def __init__(self) -> None:
        self.taken: list[Envelope] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.taken.append(envelope)
        return "250 OK"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        known = isinstance(data, LoginPassword) and data.password == b"correct"
        return AuthResult(success=known, handled=False)


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(
        box, hostname="127.0.0.1", port=port, authenticator=box.authenticate, auth_required=True, auth_require_tls=False
    )
    controller.start()
    yield box, port
    controller.stop()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")


def make_email_settings(port: int) -> EmailSettings:
    return EmailSettings(
        host="127.0.0.1",
        port=port,
        starttls=False,
        user="habla",
        sender="habla@example.org",
        recipients=("ana@example.org", "luis@example.org"),
    )


def test_an_alert_is_sent_once_by_each_channel(lake, webhook, mailbox):
    box, port = mailbox
    settings = AlertSettings(webhook_variable="HOOK", email=make_email_settings(port))
    environment = {"HOOK": webhook.url, "HABLA_SMTP_PASSWORD": "correct"}
    assert send_once(ALERT, lake, settings, environment) == ("webhook", "email")
    assert send_once(ALERT, lake, settings, environment) == ()
    (posted,), (mail,) = webhook.posted, box.taken
    assert posted["text"] == f"{ALERT.subject}\n{ALERT.text}"
    assert posted["key"] == ALERT.key
    message = email.message_from_bytes(mail.content, policy=email.policy.default)
    assert message["Subject"] == "v3 makes more errors than before"
    assert message["To"] == "ana@example.org, luis@example.org"
    assert mail.rcpt_tos == ["ana@example.org", "luis@example.org"]
    assert message.get_content().splitlines() == ALERT.text.splitlines()


def test_another_alert_is_sent_separately(lake, webhook):
    settings, environment = AlertSettings(webhook_variable="HOOK"), {"HOOK": webhook.url}
    send_once(ALERT, lake, settings, environment)
    send_once(Alert("drift/v3/2026-11-23", "later", "text"), lake, settings, environment)
    assert [each["key"] for each in webhook.posted] == ["drift/v3/2026-11-16", "drift/v3/2026-11-23"]


def test_a_temporary_server_error_is_retried_and_the_alert_is_delivered_once(lake, webhook):
    webhook.next_statuses = [503, 429]
    assert send_once(ALERT, lake, AlertSettings(webhook_variable="HOOK"), {"HOOK": webhook.url}) == ("webhook",)
    assert len(webhook.posted) == 1


def test_a_refused_alert_is_sent_by_the_other_channel_and_retried_by_the_next_run(lake, webhook, mailbox):
    box, port = mailbox
    settings = AlertSettings(webhook_variable="HOOK", email=make_email_settings(port))
    environment = {"HOOK": webhook.url, "HABLA_SMTP_PASSWORD": "correct"}
    webhook.next_statuses = [404]
    with pytest.raises(
        ServiceError, match="responded with HTTP 404; check its address; the next run sends the alert again"
    ) as refused:
        send_once(ALERT, lake, settings, environment)
    assert "secret" not in str(refused.value)
    assert len(box.taken) == 1
    assert send_once(ALERT, lake, settings, environment) == ("webhook",)
    assert (len(webhook.posted), len(box.taken)) == (1, 1)


def test_errors_of_password_port_and_address_say_what_to_check(lake, mailbox):
    box, port = mailbox
    with pytest.raises(ServiceError, match=f"127.0.0.1:{port} refused the message .* HABLA_SMTP_PASSWORD"):
        send_once(ALERT, lake, AlertSettings(email=make_email_settings(port)), {"HABLA_SMTP_PASSWORD": "wrong"})
    assert box.taken == []
    with pytest.raises(ServiceError, match=r"webhook in HOOK cannot be reached \(ConnectError\)"):
        send_once(ALERT, lake, AlertSettings(webhook_variable="HOOK"), {"HOOK": UNREACHABLE_URL})
    with pytest.raises(ServiceError, match="HOOK is not an http"):
        send_once(ALERT, lake, AlertSettings(webhook_variable="HOOK"), {})


def test_nothing_is_sent_without_a_channel(lake):
    assert send_once(ALERT, lake, AlertSettings(), {}) == ()
