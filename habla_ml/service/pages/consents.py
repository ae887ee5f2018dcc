"""The page Consentimientos: who has consented, record a consent, and withdraw one after seeing what that erases."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from habla_ml.consent.admission import load_consents
from habla_ml.consent.register import Register
from habla_ml.erasure.erase import ErasurePlan, plan_erasure
from habla_ml.errors import InputError, InputUnavailableError
from habla_ml.inbox.accounts import Account
from habla_ml.inbox.consent_texts import ConsentText, choose_offered_texts, keep_consent_text, load_consent_texts
from habla_ml.inbox.consents import (
    ConsentConflictError,
    ErasurePendingError,
    NewConsent,
    RecordedConsent,
    choose_standing_consent,
    count_contributors,
    find_consent,
    list_contributors,
    record_consent,
    withdraw_consents,
)
from habla_ml.service.pages.current_account import require_right
from habla_ml.service.pages.layout import get_page_language, mark_message, redirect_to, render_page
from habla_ml.service.pages.paging import EVERYTHING, ROWS_PER_PAGE, CurrentListQuery, ListPage, ListQuery
from habla_ml.service.problems import NOT_FOUND, ProblemError
from habla_ml.service.register_check import require_pseudonym
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
    is_refused_by_file: bool
    """Whether the register's file has an entry without a valid consent."""


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
def show_consents(request: Request, state: State, account: Person, query: CurrentListQuery) -> Response:  # noqa: ARG001
    """Show the contributors and the form."""
    return _render(request, state, query=query)


@router.post(CONSENTS_PATH)
def add_consent(request: Request, state: State, account: Person, form: Annotated[ConsentForm, Form()]) -> Response:
    """Record a consent, or show the form again."""
    text = next((each for each in _load_texts(state.settings) if _name_text(each) == form.text), None)
    now = state.read_clock()
    given_at = _find_moment(form, state.settings)
    if text is None or given_at > now:
        return _render(request, state, 422, _NO_TEXT if text is None else _FUTURE, form)
    try:
        _record(state, account, form, text, given_at)
    except InputError as error:
        message = next(sentence for kind, sentence in _REFUSALS if isinstance(error, kind))
        return _render(request, state, 422, message, form)
    return redirect_to(state, _link_to(form.pseudonym))


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
    return redirect_to(state, _link_to(consent.contributor))


def _render(
    request: Request,
    state: ServiceState,
    status: int = 200,
    message: str = "",
    typed: ConsentForm | None = None,
    query: ListQuery = EVERYTHING,
) -> Response:
    """Return the page; a form that was refused has again what the person `typed`, such as that a guardian is needed."""
    texts = _load_texts(state.settings)
    language = get_page_language(request)
    with state.database.read() as connection:
        page = ListPage.choose(query, count_contributors(connection, query.search))
        found = list_contributors(connection, page.search, page.skipped, ROWS_PER_PAGE)
    today = state.read_today()
    register = _read_register(state)
    oldest_version = state.settings.consent.oldest_version
    return render_page(
        request,
        state,
        "consents.html.j2",
        status=status,
        message=message,
        typed=typed,
        list=page,
        rows=[_describe_contributor(each, oldest_version, register, today) for each in found],
        texts=[(_name_text(each), each) for each in texts],
        chosen_text=typed.text
        if typed
        else next((_name_text(each) for each in texts if each.language == language), ""),
        consent_id=str(uuid.uuid4()),
        asked_at=state.read_clock().isoformat(),
        today=today.isoformat(),
        has_register=state.settings.consent.registry is not None,
        is_register_readable=register is not None,
    )


def _link_to(contributor: str) -> str:
    """Return the address of the list with that contributor, who can be on any page of it."""
    return f"{CONSENTS_PATH}?{urlencode({'search': contributor})}"


def _read_register(state: ServiceState) -> Register | None:
    """Return the register's file, which is empty without one; None if it cannot be read."""
    try:
        return state.register.read()
    except InputUnavailableError:
        return None


def _describe_contributor(
    consents: list[RecordedConsent], oldest_version: int, register: Register | None, today: date
) -> ContributorRow:
    newest = consents[-1]
    entry = None if register is None else register.find(newest.contributor)
    is_refused = entry is not None and entry.explain_refusal(today) is not None
    return ContributorRow(newest.contributor, newest, _describe_state(consents, oldest_version), is_refused)


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
    require_pseudonym(form.pseudonym)
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
