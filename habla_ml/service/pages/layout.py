"""The frame of all pages: template, language, navigation, and the headers that keep a page to itself.

A page is a function that ends with `render_page`. Its template extends `base.html.j2`; its script and style are files in
`static/`, because the content security policy allows none in the page itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import jinja2
from babel import Locale
from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal
from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from habla_ml.service.pages.languages import LANGUAGES, choose_language, load_translations
from habla_ml.service.pages.static_files import get_static_address
from habla_ml.service.state import ServiceState

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "frame-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # Without a referrer, browsers send `Origin: null` with a form, which nothing can be checked against.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Vary": "Accept-Language, Cookie",
}
LANGUAGE_COOKIE: Final = "habla_language"
"""Cookie with the language that a person chose in this browser."""
_HTTPS_HEADERS: Final = {"Strict-Transport-Security": "max-age=31536000"}


def mark_message(message: str) -> str:
    """Return a message unchanged; the name makes it part of the catalogues, and a template translates it later."""
    return message


@dataclass(frozen=True)
class PageLink:
    """A page in the navigation."""

    path: str
    title: str
    """English, marked by `mark_message`."""
    purpose: str
    """One sentence for the start page, marked likewise."""
    right: str
    """The right that the page needs; empty for every account."""


PAGE_LINKS: Final[tuple[PageLink, ...]] = (
    PageLink(
        "/correct",
        mark_message("Correct"),
        mark_message("Listen to the clips that teach the model most, and correct their text."),
        "correct",
    ),
    PageLink(
        "/status",
        mark_message("State"),
        mark_message("What waits, how good the last versions are, and what to do next."),
        "",
    ),
    PageLink(
        "/consents",
        mark_message("Consents"),
        mark_message("Who has consented; record a consent or withdraw one."),
        "consents",
    ),
    PageLink("/people", mark_message("People"), mark_message("Who has an account; invite a person."), "admin"),
)
"""The pages in the navigation, in order."""


def render_page(
    request: Request, state: ServiceState, template: str, *, status: int = 200, **values: Any
) -> HTMLResponse:
    """Return the page that the template makes of the values, in the person's language.

    `request.state.account` is who reads it; without one, only pages such as the sign-in are rendered.
    """
    account = getattr(request.state, "account", None)
    language = get_page_language(request)
    page = _open_environment(language, state.settings.time_zone).get_template(template)
    rights = frozenset() if account is None else account.rights
    links = [each for each in PAGE_LINKS if account is not None and (not each.right or each.right in rights)]
    path = request.url.path
    response = HTMLResponse(
        page.render(
            language=language,
            other_languages={each: name for each, name in LANGUAGES.items() if each != language},
            account=account,
            rights=rights,
            links=links,
            path=path,
            # The answer to a form has no page of its own.
            page_path=path if request.method == "GET" else "/",
            **values,
        ),
        status,
    )
    add_page_headers(response, state)
    return response


def redirect_to(state: ServiceState, path: str) -> RedirectResponse:
    """Return the answer to a form: the browser loads the page `path` of this service."""
    response = RedirectResponse(path, 303)
    add_page_headers(response, state)
    return response


def add_page_headers(response: Response, state: ServiceState) -> None:
    """Add the headers of a page to a response, without replacing one that it has."""
    for name, value in {**_HEADERS, **(_HTTPS_HEADERS if state.settings.service.is_encrypted else {})}.items():
        response.headers.setdefault(name, value)


def get_page_language(request: Request) -> str:
    """Return the language of a page: the account's, or else the one chosen in this browser, or else what it asks for."""
    account = getattr(request.state, "account", None)
    chosen = ("" if account is None else account.language, request.cookies.get(LANGUAGE_COOKIE, ""))
    return choose_language(chosen, request.headers.get("accept-language", ""))


@cache
def _open_environment(language: str, time_zone: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(__package__), jinja2.PackageLoader("habla_ml")]),
        extensions=["jinja2.ext.i18n"],
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.install_gettext_translations(load_translations(language), newstyle=True)  # type: ignore[attr-defined]
    environment.policies["ext.i18n.trimmed"] = True
    zone = ZoneInfo(time_zone)

    def show_time(moment: datetime) -> str:
        return format_datetime(moment, "medium", zone, language).rpartition(":")[0]

    def show_day(moment: datetime | date) -> str:
        day = moment.astimezone(zone).date() if isinstance(moment, datetime) else moment
        return format_date(day, "long", language)

    def show_number(number: float, digits: int = 0) -> str:
        return format_decimal(round(number, digits), "#,##0" + ("." + "#" * digits if digits else ""), language)

    def show_language(code: str) -> str:
        return str(Locale(code).get_display_name(language) or code)

    environment.filters.update(show_time=show_time, show_day=show_day, show_number=show_number)
    environment.filters.update(show_language=show_language)
    environment.globals["static"] = get_static_address
    return environment
