"""Consents of contributors: the texts, recording one, and withdrawing, which starts the erasure."""

from __future__ import annotations

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Final, Self

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from habla_ml.consent.register import Contributor
from habla_ml.erasure.contributor_data import DayPointers, find_contributor_data
from habla_ml.inbox.consent_texts import (
    DOCUMENT_PATTERN,
    ConsentText,
    choose_offered_texts,
    find_consent_text,
    keep_consent_text,
    load_consent_texts,
)
from habla_ml.inbox.consents import (
    ConsentConflictError,
    ErasurePendingError,
    ForeignContributorError,
    NewConsent,
    RecordedConsent,
    derive_consent_id,
    find_consent,
    find_standing_consent,
    get_contributor_key,
    read_consents,
    record_consent,
    withdraw_consents,
)
from habla_ml.inbox.devices import Device
from habla_ml.inbox.locks import lock_contributor
from habla_ml.recordings.upload_names import is_upload_session
from habla_ml.service.access import CurrentDevice
from habla_ml.service.api.fields import Moment, Pseudonym, Uuid
from habla_ml.service.problems import (
    CLOCK_AHEAD,
    CONFLICT,
    ERASURE_PENDING,
    FORBIDDEN,
    NOT_FOUND,
    Problem,
    ProblemError,
    describe_problems,
)
from habla_ml.service.register_check import is_refused_contributor, require_pseudonym
from habla_ml.service.state import ServiceState, State

router = APIRouter(prefix="/v1", tags=["consents"])
_CLOCK_TOLERANCE: Final = timedelta(minutes=10)
_RETRY_AFTER_ERASURE_S: Final = 600
_REFUSALS: Final[dict[type[Exception], Problem]] = {
    ConsentConflictError: CONFLICT,
    ErasurePendingError: ERASURE_PENDING,
    ForeignContributorError: FORBIDDEN,
}

OwnConsentId = Annotated[Uuid, Path(description="The `id` under which this device recorded the consent.")]


class ConsentDocument(BaseModel):
    """A text to show before a person consents."""

    model_config = ConfigDict(frozen=True)

    document: Annotated[str, Field(description="Name of the text; send it as `document`.", examples=["voice"])]
    version: Annotated[int, Field(description="Send it as `documentVersion`.")]
    language: Annotated[str, Field(description="BCP 47.", examples=["es"])]
    title: str
    text: Annotated[str, Field(description="What to show, Markdown.")]
    digest: Annotated[
        str, Field(description="SHA-256 of the text in UTF-8, 64 hexadecimal digits; send it as `documentDigest`.")
    ]


class ConsentDocuments(BaseModel):
    """The newest version of each text, in all its languages."""

    model_config = ConfigDict(frozen=True)

    documents: list[ConsentDocument]


class ConsentRequest(BaseModel):
    """A consent to one of the texts, in the language that the person read."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: Annotated[
        Uuid, Field(description="A random UUID in lower case that the device chose. Keep it, to withdraw the consent.")
    ]
    contributor: Annotated[
        Pseudonym,
        Field(
            description="A pseudonym that the app made at random; never a name. The first device that records it keeps it.",
            examples=["c-017"],
        ),
    ]
    document: Annotated[str, Field(pattern=f"^{DOCUMENT_PATTERN}$", max_length=50, examples=["voice"])]
    documentVersion: Annotated[int, Field(strict=False, ge=1, le=999_999, description="`version` of the text.")]  # noqa: N815 (a name of the wire)
    documentDigest: Annotated[  # noqa: N815
        str, Field(pattern="^[0-9a-f]{64}$", min_length=64, max_length=64, description="`digest` of the text.")
    ]
    minor: Annotated[bool, Field(description="Whether the person is a minor.")]
    guardian: Annotated[
        bool,
        Field(
            description="Whether a guardian of a minor consented too; false for an adult. Without it a minor's consent does "
            "not stand: record another one, with a new id, once the guardian consented."
        ),
    ]
    givenAt: Annotated[  # noqa: N815
        Moment, Field(description="RFC 3339 with a zone, at most 10 minutes ahead of the service's clock.")
    ]


class Consent(BaseModel):
    """The state of a consent."""

    model_config = ConfigDict(frozen=True)

    id: Uuid
    contributor: str
    document: str
    documentVersion: int  # noqa: N815
    minor: bool
    guardian: bool
    givenAt: datetime  # noqa: N815
    withdrawnAt: Annotated[datetime | None, Field(description="Null if it was not withdrawn.")]  # noqa: N815
    erasedAt: Annotated[  # noqa: N815
        datetime | None,
        Field(
            description="When everything that the contributor sent was erased after the withdrawal; null until then."
        ),
    ]
    stands: Annotated[
        bool,
        Field(description="Whether clips of the contributor are accepted now, because of this or another consent."),
    ]

    @classmethod
    def describe(cls, sent_id: str, consent: RecordedConsent, *, stands: bool) -> Self:
        """Return the answer on a recorded consent."""
        return cls(
            id=sent_id,
            contributor=consent.contributor,
            document=consent.document,
            documentVersion=consent.document_version,
            minor=consent.minor,
            guardian=consent.guardian,
            givenAt=consent.given_at,
            withdrawnAt=consent.withdrawn_at,
            erasedAt=consent.erased_at,
            stands=stands,
        )


@router.get(
    "/consent-documents",
    summary="Read the consent texts",
    response_description="One text for each document and language",
)
def list_consent_documents(state: State, device: CurrentDevice) -> ConsentDocuments:  # noqa: ARG001 (needs a device)
    """Return the texts, to show one in the person's language before the person consents."""
    offered = choose_offered_texts(load_consent_texts(state.settings.consent.documents))
    fields = ("document", "version", "language", "title", "text", "digest")
    documents = [ConsentDocument(**{name: getattr(each, name) for name in fields}) for each in offered]
    return ConsentDocuments(documents=documents)


@router.post(
    "/consents",
    summary="Record a consent",
    status_code=HTTPStatus.CREATED,
    response_description="The consent is recorded; `stands` says whether clips are accepted",
    responses={
        **describe_problems(CLOCK_AHEAD, CONFLICT, ERASURE_PENDING, FORBIDDEN, NOT_FOUND),
        HTTPStatus.OK: {"model": Consent, "description": "An earlier request recorded the same consent"},
    },
)
def create_consent(body: ConsentRequest, response: Response, state: State, device: CurrentDevice) -> Consent:
    """Record that a person consented to a text. The same request again succeeds again.

    404 means that no such text is in use: read the texts again, and show the person the new one. After a withdrawal, a new
    consent is accepted once the erasure is done; until then the answer is `/problems/erasure-pending`.
    """
    consent, is_new = keep_consent(state, device, body)
    response.status_code = HTTPStatus.CREATED if is_new else HTTPStatus.OK
    return consent


@router.get(
    "/consents/{consent_id}",
    summary="Read a consent",
    response_description="The state of the consent",
    responses=describe_problems(NOT_FOUND),
)
def read_consent(consent_id: OwnConsentId, state: State, device: CurrentDevice) -> Consent:
    """Return whether a consent of this device stands, was withdrawn, and was erased."""
    with state.database.read() as connection:
        return _describe(state, connection, consent_id, _find_own_consent(connection, device, consent_id))


@router.delete(
    "/consents/{consent_id}",
    summary="Withdraw a consent",
    response_description="All consents of the contributor are withdrawn",
    responses=describe_problems(NOT_FOUND),
)
def withdraw_consent(consent_id: OwnConsentId, state: State, device: CurrentDevice) -> Consent:
    """Withdraw all consents of the contributor, and start the erasure. The same request again succeeds again.

    First delete what the device has of the person. Then read the consent until `erasedAt` is set, at most every 10 minutes.
    """

    def withdraw(connection: Connection) -> Consent:
        consent = _find_own_consent(connection, device, consent_id)
        if consent.withdrawn_at is None:
            withdraw_consents(connection, consent.contributor, state.read_clock())
            consent = _find_own_consent(connection, device, consent_id)
        return _describe(state, connection, consent_id, consent)

    return state.database.change(withdraw)


def keep_consent(state: ServiceState, device: Device, body: ConsentRequest) -> tuple[Consent, bool]:
    """Record a consent of a device; return it and whether it is new, or raise `ProblemError`."""
    if body.givenAt > state.read_clock() + _CLOCK_TOLERANCE:
        raise ProblemError(CLOCK_AHEAD, "givenAt is in the future; set the device's clock, and send the time again")
    text = _find_text(state, body)
    new = NewConsent(
        consent_id=derive_consent_id(device.device_id, body.id),
        contributor=body.contributor,
        document=body.document,
        document_version=body.documentVersion,
        document_digest=body.documentDigest,
        minor=body.minor,
        guardian=body.guardian,
        given_at=body.givenAt,
        device_id=device.device_id,
    )

    def record(connection: Connection) -> tuple[Consent, bool]:
        lock_contributor(connection, get_contributor_key(new.contributor))
        is_new = find_consent(connection, new.consent_id) is None
        keep_consent_text(connection, text)
        consent = record_consent(connection, new)
        return _describe(state, connection, body.id, consent), is_new

    try:
        require_pseudonym(body.contributor)
        _require_no_other_recordings(state, body.contributor)
        return state.database.change(record)
    except tuple(_REFUSALS) as error:
        wait_s = _RETRY_AFTER_ERASURE_S if isinstance(error, ErasurePendingError) else None
        raise ProblemError(_REFUSALS[type(error)], str(error), wait_s) from None


def _require_no_other_recordings(state: ServiceState, contributor: str) -> None:
    """Raise `ForeignContributorError` if a pseudonym without a consent is a label of recordings that no device sent.

    A withdrawal erases these too, so the first consent to them is a person's to record.
    """
    with state.database.read() as connection:
        if read_consents(connection, contributor):
            return
    data = find_contributor_data(
        state.lake, Contributor(contributor=contributor), pointers=DayPointers.list(state.lake)
    )
    if not all(map(is_upload_session, data.sessions)):
        raise ForeignContributorError("this pseudonym is used by another device or a person; use another one")


def _find_text(state: ServiceState, body: ConsentRequest) -> ConsentText:
    texts = load_consent_texts(state.settings.consent.documents)
    found = find_consent_text(texts, body.document, body.documentVersion, body.documentDigest)
    if found is None or found.version < state.settings.consent.oldest_version:
        raise ProblemError(NOT_FOUND, "no such text is in use; get /v1/consent-documents and show the text again")
    return found


def _find_own_consent(connection: Connection, device: Device, consent_id: str) -> RecordedConsent:
    found = find_consent(connection, derive_consent_id(device.device_id, consent_id))
    if found is None:
        raise ProblemError(NOT_FOUND, "the device recorded no consent with this id")
    return found


def _describe(state: ServiceState, connection: Connection, sent_id: str, consent: RecordedConsent) -> Consent:
    oldest_version = state.settings.consent.oldest_version
    standing = find_standing_consent(connection, consent.contributor, oldest_version)
    stands = standing is not None and not is_refused_contributor(state, consent.contributor)
    return Consent.describe(sent_id, consent, stands=stands)
