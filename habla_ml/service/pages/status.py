"""The page Estado: what waits, the last versions with their verdict, their reports, and the released version."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, Query, Request, Response

from habla_ml.errors import PointerMovedError, ReleaseError, UnsignedStateError
from habla_ml.inbox.accounts import Account
from habla_ml.lake import catalogue
from habla_ml.model_version import is_version
from habla_ml.release.channel import read_channel
from habla_ml.release.keys import open_signing
from habla_ml.release.moves import rollback
from habla_ml.service.pages.current_account import CurrentAccount, require_right
from habla_ml.service.pages.layout import add_page_headers, redirect_to, render_page
from habla_ml.service.pages.status_cache import StatusCache
from habla_ml.service.problems import CONFLICT, NOT_FOUND, Problem, ProblemError
from habla_ml.service.state import State

STATUS_PATH: Final = "/status"
_REFUSED: Final = Problem("release-refused", HTTPStatus.CONFLICT, "The channel cannot move to this release")
_REPORT_POLICY: Final = "; ".join(
    (
        # The report has its own script. In a sandbox it has no origin: neither the session nor any page is in its reach.
        "sandbox allow-scripts",
        "default-src 'none'",
        "script-src 'unsafe-inline'",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "media-src data: blob:",
        "frame-ancestors 'none'",
    )
)

router = APIRouter(include_in_schema=False)


@router.get(STATUS_PATH)
def show_status(
    request: Request, state: State, account: CurrentAccount, sequence: Annotated[int, Query(ge=0, le=10**9)] = 0
) -> Response:
    """Show the state of the deployment, which includes the move of the release with this number."""
    cache: StatusCache = request.app.state.status
    summary = cache.read(sequence)
    next_step = summary.choose_next_step(account.rights)
    return render_page(request, state, "status.html.j2", summary=summary, next_step=next_step)


@router.get("/reports/{version}")
def show_report(version: str, state: State, account: CurrentAccount) -> Response:  # noqa: ARG001 (needs an account)
    """Return the report of a model version."""
    pointer = state.lake.read_pointer(catalogue.REPORT.name(version)) if is_version(version) else None
    if pointer is None:
        raise ProblemError(NOT_FOUND, "There is no report of this version")
    html = state.lake.get_bytes(pointer.value["html"])
    response = Response(
        html, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": _REPORT_POLICY}
    )
    add_page_headers(response, state)
    return response


@router.post("/rollback")
def move_release(
    state: State,
    account: Annotated[Account, Depends(require_right("release"))],  # noqa: ARG001 (needs the right)
    version: Annotated[str, Form(max_length=100)],
    seen: Annotated[int, Form(ge=1)],
) -> Response:
    """Move the channel to another release, if it is still as the person saw it."""
    channel = state.settings.release.channel
    if version not in {each.version for each in read_channel(state.release_store, channel).releases}:
        raise ProblemError(NOT_FOUND, "There is no such release")
    try:
        signing = open_signing(state.settings, state.release_store, state.read_clock())
    except ReleaseError as error:
        step = state.settings.command("rollback", "--to", version, "--seen", str(seen))
        fault = f"no key that signs releases is on this machine; run `{step}` on the machine that releases"
        raise ProblemError(_REFUSED, fault) from error
    try:
        rollback(state.release_store, channel, version, state.read_clock(), seen, signing)
    except PointerMovedError as error:
        raise ProblemError(CONFLICT, "The channel was moved meanwhile") from error
    except UnsignedStateError as error:
        step = state.settings.command("rollback", "--to", version, "--unverified")
        raise ProblemError(_REFUSED, f"no key of today signed this release; if it is right, run `{step}`") from error
    except ReleaseError as error:
        raise ProblemError(_REFUSED, "the files of this release are incomplete; the channel did not move") from error
    moved = read_channel(state.release_store, channel).current
    # Another worker may show the page; the number says that its summary can be too old.
    return redirect_to(state, STATUS_PATH if moved is None else f"{STATUS_PATH}?sequence={moved.sequence}")
