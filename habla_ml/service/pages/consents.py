"""The page Consentimientos: who has consented, record a consent, and withdraw one after seeing what that erases."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from itertools import groupby
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from habla_ml.consent.admission import load_consents
from habla_ml.erasure.erase import ErasurePlan, plan_erasure
from habla_ml.errors import InputError
from habla_ml.inbox.accounts import Account
from habla_ml.inbox.consent_texts import ConsentText, choose_offered_texts, keep_consent_text, load_consent_texts
from habla_ml.inbox.consents import (
    ConsentConflictError,
    ErasurePendingError,
    NewConsent,
    RecordedConsent,
    choose_standing_consent,
    find_consent,
    read_all_consents,
    record_consent,
    withdraw_consents,
)
from habla_ml.service.pages.current_account import require_right
from habla_ml.service.pages.layout import get_page_language, mark_message, redirect_to, render_page
from habla_ml.service.problems import NOT_FOUND, ProblemError
from habla_ml.service.state import ServiceState, State
from habla_ml.settings import Settings

CONSENTS_PATH: Final = "/consents"
_LONGEST_PSEUDONYM: Final = 100
_REFUSALS: Final[tuple[tuple[type[InputError], str], ...]] = (
    (ErasurePendingError, mark_message("This person withdrew and the data are still being erased. Try again later.")),
    (
        ConsentConflictError,
        mark_message("This person withdrew after that day. Ask the person again and use today's date."),
    ),
    (InputError, mark_message("This pseudonym cannot be used. Choose another one.")),
)
_FUTURE: Final = mark_message("The day of the consent is in the future.")
_NO_TEXT: Final = mark_message("Choose the text that the person saw.")

router = APIRouter(include_in_schema=False)
Person = Annotated[Account, Depends(require_right("consents"))]
ConsentId = Annotated[uuid.UUID, "of any consent of the contributor"]


@dataclass(frozen=True)
class ContributorRow:
    """A contributor in the list."""

    contributor: str
    newest: RecordedConsent
    state: str
    """`valid`, `guardian` (a guardian's consent is missing), `old` (only an older text), `erasing` or `withdrawn`."""


class ConsentForm(BaseModel):
    """What a person typed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    consent_id: uuid.UUID
    asked_at: AwareDatetime
    """When the form was shown, so that a form that is sent twice is one consent."""
    text: Annotated[str, Field(max_length=100)]
    pseudonym: Annotated[str, Field(max_length=_LONGEST_PSEUDONYM)]
    given_on: date
    minor: bool = False
    guardian: bool = False


@router.get(CONSENTS_PATH)
def show_consents(request: Request, state: State, account: Person) -> Response:  # noqa: ARG001 (needs the right)
    """Show the contributors and the form."""
    return _render(request, state)


@router.post(CONSENTS_PATH)
def add_consent(request: Request, state: State, account: Person, form: Annotated[ConsentForm, Form()]) -> Response:
    """Record a consent, or show the form again."""
    text = next((each for each in _load_texts(state.settings) if _name_text(each) == form.text), None)
    now = state.read_clock()
    given_at = _find_moment(form, state.settings)
    if text is None or given_at > now:
        return _render(request, state, 422, _NO_TEXT if text is None else _FUTURE, form.pseudonym)
    try:
        _record(state, account, form, text, given_at)
    except InputError as error:
        message = next(sentence for kind, sentence in _REFUSALS if isinstance(error, kind))
        return _render(request, state, 422, message, form.pseudonym)
    return redirect_to(state, CONSENTS_PATH)


@router.get("/consents/{consent_id}/withdraw")
def show_withdrawal(request: Request, state: State, account: Person, consent_id: ConsentId) -> Response:  # noqa: ARG001
    """Show what a withdrawal erases."""
    consent = _find(state, consent_id)
    plan = _plan(state, consent)
    return render_page(request, state, "withdraw.html.j2", consent=consent, plan=plan)


@router.post("/consents/{consent_id}/withdraw")
def withdraw(state: State, account: Person, consent_id: ConsentId) -> Response:  # noqa: ARG001 (needs the right)
    """Withdraw all consents of the contributor; the erasure follows in the pipeline."""
    consent = _find(state, consent_id)
    now = state.read_clock()
    state.database.change(lambda connection: withdraw_consents(connection, consent.contributor, now))
    return redirect_to(state, CONSENTS_PATH)


def _render(
    request: Request, state: ServiceState, status: int = 200, message: str = "", pseudonym: str = ""
) -> Response:
    texts = _load_texts(state.settings)
    language = get_page_language(request)
    with state.database.read() as connection:
        consents = read_all_consents(connection)
    return render_page(
        request,
        state,
        "consents.html.j2",
        status=status,
        message=message,
        pseudonym=pseudonym,
        rows=list(_list_contributors(consents, state.settings.consent.oldest_version)),
        texts=[(_name_text(each), each) for each in texts],
        chosen_text=next((_name_text(each) for each in texts if each.language == language), ""),
        consent_id=str(uuid.uuid4()),
        asked_at=state.read_clock().isoformat(),
        today=state.read_clock().astimezone(state.settings.zone).date().isoformat(),
        has_register=state.settings.consent.registry is not None,
    )


def _list_contributors(consents: list[RecordedConsent], oldest_version: int) -> Iterator[ContributorRow]:
    for _, group in groupby(consents, lambda each: each.contributor_key):
        own = list(group)
        yield ContributorRow(own[-1].contributor, own[-1], _describe_state(own, oldest_version))


def _describe_state(consents: list[RecordedConsent], oldest_version: int) -> str:
    if choose_standing_consent(consents, oldest_version) is not None:
        return "valid"
    if any(each.is_awaiting_erasure for each in consents):
        return "erasing"
    valid = [each for each in consents if each.withdrawn_at is None]
    if not valid:
        return "withdrawn"
    return "guardian" if any(each.document_version >= oldest_version for each in valid) else "old"


def _record(state: ServiceState, account: Account, form: ConsentForm, text: ConsentText, given_at: datetime) -> None:
    consent = NewConsent(
        str(form.consent_id),
        form.pseudonym,
        text.document,
        text.version,
        text.digest,
        minor=form.minor,
        guardian=form.guardian,
        given_at=given_at,
        account_id=account.account_id,
    )

    def record(connection: Connection) -> None:
        keep_consent_text(connection, text)
        record_consent(connection, consent)

    state.database.change(record)


def _plan(state: ServiceState, consent: RecordedConsent) -> ErasurePlan:
    now = state.read_clock()
    entry = load_consents(state.settings, now).register.find(consent.contributor)
    if entry is None:
        raise ProblemError(NOT_FOUND, "There is no such contributor")
    return plan_erasure(state.lake, entry, state.settings, now)


def _find(state: ServiceState, consent_id: uuid.UUID) -> RecordedConsent:
    with state.database.read() as connection:
        consent = find_consent(connection, str(consent_id))
    if consent is None:
        raise ProblemError(NOT_FOUND, "There is no such consent")
    return consent


def _find_moment(form: ConsentForm, settings: Settings) -> datetime:
    """Return when the consent was given: at noon of an earlier day, or when the form was shown today."""
    if form.given_on == form.asked_at.astimezone(settings.zone).date():
        return form.asked_at
    return datetime.combine(form.given_on, time(12), settings.zone).astimezone(UTC)


def _load_texts(settings: Settings) -> list[ConsentText]:
    return choose_offered_texts(load_consent_texts(settings.consent.documents))


def _name_text(text: ConsentText) -> str:
    return f"{text.document}-{text.version}.{text.language}"
