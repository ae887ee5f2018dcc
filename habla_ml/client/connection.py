"""The requests of the service's API, one function each. All of them can be repeated without harm."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from habla_ml.client.back_off import BackOff
from habla_ml.client.download import save_download
from habla_ml.client.problems import ProblemReceivedError, ServiceUnreachableError, read_problem
from habla_ml.client.wire import (
    BatchReply,
    ClipAcknowledgement,
    ConsentReply,
    ContributorRecord,
    DeviceEnrolment,
    LatestModel,
    OfferedConsentText,
    OfferedConsentTexts,
    ReceivedRecord,
    SentConsent,
    SentDataPoint,
)

_TIMEOUT_S: Final = 30.0
Record = TypeVar("Record", bound=ReceivedRecord)


class ServiceConnection:
    """A connection to a service. Each method raises `ProblemReceivedError` or `ServiceUnreachableError`."""

    def __init__(self, url: str, token: str | None = None, retry: BackOff | None = None) -> None:
        self.token = token
        self._retry = retry or BackOff()
        self._http = httpx.Client(base_url=url, timeout=_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def enrol(self, code: str, key: str) -> DeviceEnrolment:
        """Exchange a code for a token, and use it from now on.

        A code is valid once, but a repeat with the same secret `key` of 32 to 200 characters returns the same token. A
        device that has a token stays the same device, and its token is valid again.
        """
        answer = self._send("POST", "/v1/devices", json={"code": code}, headers={"Idempotency-Key": key})
        enrolment = _parse(DeviceEnrolment, answer)
        self.token = enrolment.token
        return enrolment

    def put_clip(
        self,
        clip_id: str,
        path: Path,
        sha256: str,
        session: str,
        contributor: str | None,
        recorded_at: datetime | None,
    ) -> ClipAcknowledgement:
        """Send an audio file; `sha256` is in hex."""
        digest = base64.b64encode(bytes.fromhex(sha256)).decode()
        headers = {"Content-Digest": f"sha-256=:{digest}:", "Habla-Session": session.encode()}
        if contributor is not None:
            headers["Habla-Contributor"] = contributor.encode()
        if recorded_at is not None:
            headers["Habla-Recorded-At"] = recorded_at.isoformat()
        answer = self._send("PUT", f"/v1/clips/{clip_id}", content=path.read_bytes(), headers=headers)
        return _parse(ClipAcknowledgement, answer)

    def post_batch(self, points: Sequence[SentDataPoint]) -> BatchReply:
        """Send data points; the result of each comes in their order."""
        body = {"items": [each.model_dump(mode="json") for each in points]}
        return _parse(BatchReply, self._send("POST", "/v1/batches", json=body))

    def list_consent_texts(self) -> tuple[OfferedConsentText, ...]:
        """Return the newest version of each consent text, in all its languages."""
        return _parse(OfferedConsentTexts, self._send("GET", "/v1/consent-documents")).documents

    def record_consent(self, consent: SentConsent) -> ConsentReply:
        """Record a consent; a repeat returns its present state."""
        return _parse(ConsentReply, self._send("POST", "/v1/consents", json=consent.model_dump(mode="json")))

    def withdraw_consent(self, consent_id: str) -> ConsentReply:
        """Withdraw all consents of the contributor; a repeat returns the present state."""
        return _parse(ConsentReply, self._send("DELETE", f"/v1/consents/{consent_id}"))

    def read_contributor(self, contributor: str) -> ContributorRecord:
        """Return what the service holds of a contributor."""
        return _parse(ContributorRecord, self._send("GET", f"/v1/contributors/{quote(contributor, safe='')}"))

    def export_contributor(self, contributor: str, path: Path) -> None:
        """Save a ZIP archive with all that the service holds of a contributor."""
        url, headers = f"/v1/contributors/{quote(contributor, safe='')}/export", self._get_authorisation()
        self._retry.call(lambda: save_download(self._http, url, path, headers))

    def find_update(self, platform: str, app_version: str, current: str = "", channel: str = "") -> LatestModel | None:
        """Return the model to install; None if the app has it, or is too old for it."""
        query = {"platform": platform, "app_version": app_version, "current": current, "channel": channel}
        answer = self._send("GET", "/latest-model-info", params={name: each for name, each in query.items() if each})
        return None if answer.status_code == httpx.codes.NO_CONTENT else _parse(LatestModel, answer)

    def _get_authorisation(self) -> dict[str, str]:
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        return self._retry.call(lambda: self._send_once(method, path, **request))

    def _send_once(
        self, method: str, path: str, headers: dict[str, Any] | None = None, **request: Any
    ) -> httpx.Response:
        sent = {**(headers or {}), **self._get_authorisation()}
        try:
            answer = self._http.request(method, path, headers=sent, **request)
        except httpx.TransportError as error:
            raise ServiceUnreachableError(
                f"{method} {path} had no answer ({type(error).__name__}); try again later"
            ) from error
        if not answer.is_success:
            raise read_problem(answer)
        return answer


def _parse(model: type[Record], answer: httpx.Response) -> Record:
    try:
        return model.model_validate_json(answer.content)
    except ValidationError as error:
        # A captive portal answers everything with a page; the request is repeated elsewhere.
        problem = f"the answer is no {model.__name__}; check the address of the service"
        raise ProblemReceivedError("about:blank", answer.status_code, problem, True, None) from error
