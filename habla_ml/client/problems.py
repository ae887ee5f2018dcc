"""The service's problems, and what a device refuses itself, as typed errors. A message has no spoken word and no token."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, ClassVar, Final

import httpx

from habla_ml.errors import InputError, ServiceError

_LONGEST_DETAIL: Final = 500


class ServiceUnreachableError(ServiceError):
    """No answer came: no network, or the service is down. Try again later."""


class DamagedDownloadError(ServiceError):
    """A download has another size or sha256 than the service named. Nothing of it is kept; try again later."""


class UntrustedReleaseError(ServiceError):
    """A release, or a document of keys, is not signed by a trusted key, is older than what was seen, or has expired.

    Nothing of it is installed.
    """


class WithdrawnConsentError(InputError):
    """The contributor withdrew on this device. Record a new consent before a new recording."""


class UnrecordedConsentError(InputError):
    """The service has no consent of the contributor from this device. A person withdraws it on the service's page."""


class UnknownRecordingError(InputError):
    """The recording is not on the device. It never was, or it was deleted with its contributor's withdrawal."""


class ProblemReceivedError(ServiceError):
    """The service answered with a problem (RFC 9457). Subclasses are the problems that an app treats differently."""

    name: ClassVar[str] = ""
    """Last part of the problem's `type`."""

    @classmethod
    def get_type(cls) -> str:
        """Return the problem's `type`."""
        return f"/problems/{cls.name}"

    def __init__(self, type_: str, status: int, detail: str, is_retryable: bool, retry_after_s: float | None) -> None:
        super().__init__(f"the service answered {status} {type_}: {detail}")
        self.type = type_
        self.status = status
        self.is_retryable = is_retryable
        """Whether the same request can succeed later."""
        self.retry_after_s = retry_after_s
        """Seconds after which it may be repeated; None if the service does not say."""

    @property
    def can_pass_soon(self) -> bool:
        """Whether a repeat within a minute can succeed. A conflict waits for something else, such as an erasure."""
        return self.is_retryable and self.status != HTTPStatus.CONFLICT

    @property
    def is_about_item(self) -> bool:
        """Whether other items can be sent although this one is refused, such as a clip that is damaged on the device."""
        return not self.can_pass_soon or self.status == HTTPStatus.BAD_REQUEST


class UnauthenticatedError(ProblemReceivedError):
    """The code or token is wrong, expired or revoked. Enrol the device with a new code."""

    name = "unauthenticated"

    @property
    def is_about_item(self) -> bool:
        """No: every request has the token."""
        return False


class NoConsentError(ProblemReceivedError):
    """The contributor has no standing consent. Record one, and send again."""

    name = "no-consent"


class ItemErasedError(ProblemReceivedError):
    """The item was erased. Delete the copy on the device too."""

    name = "erased"


class ItemConflictError(ProblemReceivedError):
    """The id is used for other content. Send this under a new id."""

    name = "conflict"


class UnknownItemError(ProblemReceivedError):
    """There is no such consent, platform or channel."""

    name = "not-found"


_BY_NAME: Final = {
    each.name: each
    for each in (UnauthenticatedError, NoConsentError, ItemErasedError, ItemConflictError, UnknownItemError)
}


def read_problem(answer: httpx.Response) -> ProblemReceivedError:
    """Return the error of an answer; one without a problem document, as of a proxy, is judged by its status alone."""
    found: Any = None
    if answer.headers.get("Content-Type", "").startswith("application/problem+json"):
        try:
            found = answer.json()
        except ValueError:
            found = None
    document = found if isinstance(found, dict) else {}
    status = answer.status_code
    type_ = str(document.get("type", "about:blank"))
    detail = str(document.get("detail", answer.reason_phrase))[:_LONGEST_DETAIL]
    is_retryable = bool(document.get("retryable", status in (408, 425, 429) or status >= 500))
    error = _BY_NAME.get(type_.rpartition("/")[2], ProblemReceivedError)
    return error(type_, status, detail, is_retryable, _read_retry_after(answer))


def _read_retry_after(answer: httpx.Response) -> float | None:
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 10 else None
