"""HTTP client of a Label Studio server, for the few calls that are needed; the server's SDK needs half a gigabyte.

A read is repeated with growing pauses while the server is down or starting. A write is sent once; after a lost
response the caller reads whether it arrived.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Self, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from habla_ml.annotation.sources.label_studio.connection import (
    Connection,
    find_certificate_error,
)
from habla_ml.annotation.sources.label_studio.messages import (
    ImportResponse,
    ListedTask,
    ProjectPage,
    ServerProject,
    SourceStorage,
    TaskPage,
    TaskTimestamp,
    User,
    describe_validation_error,
)
from habla_ml.errors import InputError, ServiceError
from habla_ml.json_input import parse_json

Response = TypeVar("Response")

_MAX_TASKS: Final = 10_000_000
"""Tasks of one listing; a server that never ends its pages is refused."""
_MAX_PAGES_WITHOUT_NEWS: Final = 1_000
_IMPORT_TIMEOUT_S: Final = 600.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
_TRANSIENT_STATUS_CODES: Final = frozenset({429, 500, 502, 503, 504})
_LIST_PAGE_SIZE: Final = 1_000


class LabelStudio:
    """A connection to one server.

    Args:
        url: The server's address.
        token: A legacy token, or a personal access token (a JWT), which is exchanged for access tokens that last
            five minutes.
        patience_s: How long a read is repeated while the server cannot be reached.
    """

    def __init__(self, url: str, token: str, patience_s: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._is_personal = token.count(".") == 2
        self._access = ""
        self._patience_s = patience_s
        self._connection = Connection(self.url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def list_users(self) -> dict[int, str]:
        """Return id → e-mail of every user that the token can read."""
        return {each.id: each.email for each in self._get(list[User], "/api/users")}

    def find_projects(self, title: str) -> list[ServerProject]:
        """Return the projects of exactly that title, oldest first."""
        page = self._get(ProjectPage, "/api/projects", {"title": title, "page_size": 100})
        return sorted((each for each in page.results if each.title == title), key=lambda each: each.id)

    def create_project(self, title: str, description: str, label_config: str) -> ServerProject:
        """Create a project whose tasks are shown in the order of their import."""
        body = {
            "title": title,
            "description": description,
            "label_config": label_config,
            "sampling": "Sequential sampling",
            "show_skip_button": True,
            "enable_empty_annotation": True,
        }
        return self._post(ServerProject, "/api/projects", body)

    def list_source_storages(self, kind: str, project: int) -> list[SourceStorage]:
        """Return the project's source storages of a kind, `localfiles` or `s3`."""
        return self._get(list[SourceStorage], f"/api/storages/{kind}", {"project": project})

    def add_source_storage(self, kind: str, body: Mapping[str, Any]) -> None:
        """Register a source storage; the server tests it first."""
        self._post(SourceStorage, f"/api/storages/{kind}", body)

    def import_tasks(self, project: int, tasks: Sequence[Mapping[str, Any]]) -> ImportResponse | None:
        """Send the data of tasks once; return None if the response was lost, so that some of them can have arrived.

        Raises `ServiceError` if the server refused, or did not respond within ten minutes.
        """
        try:
            response = self._send(
                "POST",
                f"/api/projects/{project}/import",
                {"return_task_ids": "true"},
                [{"data": each} for each in tasks],
                _IMPORT_TIMEOUT_S,
            )
        except httpx.ReadTimeout:
            raise ServiceError(
                f"{self.url} still imports {len(tasks)} tasks after {_IMPORT_TIMEOUT_S:g} s; wait until it is idle, "
                "then push again: tasks that arrived are not sent twice"
            ) from None
        except httpx.TransportError:
            return None
        if response.status_code in {502, 503, 504}:
            return None
        return self._parse_response(ImportResponse, response)

    def delete_task(self, task: int) -> None:
        """Delete a task with its annotations, if it exists."""
        response = self._send_with_retries("DELETE", f"/api/tasks/{task}")
        if response.status_code != httpx.codes.NOT_FOUND:
            self._check_response(response)

    def set_overlap(self, task: int, people: int) -> None:
        """Let a task wait for the answers of so many people; repeating it changes nothing."""
        self._check_response(self._send_with_retries("PATCH", f"/api/tasks/{task}", body={"overlap": people}))

    def list_tasks(self, project: int, after: int = 0) -> Iterator[ListedTask]:
        """Yield ids and data of all tasks with an id above `after`, by id.

        A page starts after the last id of the previous one, so tasks deleted in between shift nothing.
        """
        for _ in range(_MAX_TASKS // _LIST_PAGE_SIZE):
            query = _build_task_query("tasks:id", "greater", "Number", after)
            parameters = {"project": project, "page_size": _LIST_PAGE_SIZE, "query": query}
            page = self._fetch_tasks(ListedTask, {**parameters, "include": "id,data,total_annotations"})
            last = max((each.id for each in page), default=after)
            yield from page
            if len(page) < _LIST_PAGE_SIZE:
                return
            if last <= after:
                break
            after = last
        raise self._endless_error()

    def iterate_changed_tasks(
        self, project: int, since: datetime, page_size: int
    ) -> Iterator[tuple[TaskTimestamp, Any]]:
        """Yield the tasks changed at or after `since` with their annotations, by time of change, each state once.

        A page starts at the last time of the previous one. A page number does not work: a task that changes during
        the read moves to the end and shifts others to an earlier page. Only pages of the same instant are numbered.
        Items without id or time are no tasks and are ignored.
        """
        seen: set[tuple[int, datetime]] = set()
        number, without_news = 1, 0
        while len(seen) < _MAX_TASKS and without_news < _MAX_PAGES_WITHOUT_NEWS:
            # The server answers 500 to any other form of time.
            start = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            query = _build_task_query("tasks:updated_at", "greater_or_equal", "Datetime", start)
            parameters = {"project": project, "page": number, "page_size": page_size, "fields": "all"}
            page = self._fetch_tasks(object, {**parameters, "query": query})
            last, known = since, len(seen)
            for each in page:
                try:
                    moment = TaskTimestamp.model_validate(each)
                except ValidationError:
                    continue
                last = max(last, moment.updated_at)
                if (key := (moment.id, moment.updated_at)) not in seen:
                    seen.add(key)
                    yield moment, each
            if len(page) < page_size:
                return
            since, number = (last, 1) if last > since else (since, number + 1)
            without_news = 0 if len(seen) > known else without_news + 1
        raise self._endless_error()

    def _fetch_tasks(self, kind: type[Response], parameters: Mapping[str, Any]) -> list[Response]:
        response = self._send_with_retries("GET", "/api/tasks", parameters)
        # A page past the end gives this 404; a deleted project gives another one.
        if response.status_code == httpx.codes.NOT_FOUND and "Invalid page" in response.text:
            return []
        return self._parse_response(TaskPage[kind], response).tasks  # type: ignore[valid-type]

    def _get(self, kind: type[Response], path: str, parameters: Mapping[str, Any] | None = None) -> Response:
        return self._parse_response(kind, self._send_with_retries("GET", path, parameters))

    def _post(self, kind: type[Response], path: str, body: Any) -> Response:
        try:
            return self._parse_response(kind, self._send("POST", path, None, body))
        except httpx.TransportError as error:
            raise self._unreachable_error(path, error) from error

    def _parse_response(self, kind: type[Response], response: httpx.Response) -> Response:
        self._check_response(response)
        try:
            return TypeAdapter(kind).validate_python(parse_json(response.content))
        except (ValidationError, InputError) as error:
            reason = str(error) if isinstance(error, InputError) else describe_validation_error(error, "the body")
            fault = f"gives no valid Label Studio response: {reason}"
            remedy = "check the address; version 1.23 is known to work"
            raise ServiceError(f"{self.url}{response.request.url.path} {fault}; {remedy}") from None

    def _send_with_retries(
        self, method: str, path: str, parameters: Mapping[str, Any] | None = None, body: Any = None
    ) -> httpx.Response:
        """Repeat an idempotent request until its response is no transient fault, for at most `patience_s`."""
        deadline, pause_s = time.monotonic() + self._patience_s, _FIRST_PAUSE_S
        while True:
            fault: httpx.TransportError | None = None
            try:
                response = self._send(method, path, parameters, body)
                if response.status_code not in _TRANSIENT_STATUS_CODES:
                    return response
            except httpx.TransportError as error:
                if find_certificate_error(error) is not None:
                    raise self._unreachable_error(path, error) from error
                fault = error
            if time.monotonic() + pause_s > deadline:
                if fault is not None:
                    raise self._unreachable_error(path, fault) from fault
                return response
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _send(
        self, method: str, path: str, parameters: Mapping[str, Any] | None, body: Any, timeout_s: float | None = None
    ) -> httpx.Response:
        """Send with a valid token; fetch a new access token where the present one has expired."""
        fresh = False
        if self._is_personal and not self._access:
            self._access, fresh = self._refresh_access_token(), True
        response = self._send_once(method, path, parameters, body, timeout_s)
        if response.status_code == httpx.codes.UNAUTHORIZED and self._is_personal and not fresh:
            self._access = self._refresh_access_token()
            response = self._send_once(method, path, parameters, body, timeout_s)
        return response

    def _send_once(
        self, method: str, path: str, parameters: Mapping[str, Any] | None, body: Any, timeout_s: float | None
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._access}" if self._is_personal else f"Token {self._token}"}
        return self._connection.send(method, path, headers, parameters, body, timeout_s)

    def _refresh_access_token(self) -> str:
        response = self._connection.send("POST", "/api/token/refresh", {}, None, {"refresh": self._token})
        if response.status_code in _TRANSIENT_STATUS_CODES:
            raise httpx.ReadError(f"HTTP {response.status_code}", request=response.request)
        try:
            access = response.json()["access"] if response.is_success else None
        except (ValueError, KeyError, TypeError):
            access = None
        if not isinstance(access, str) or not access:
            raise ServiceError(
                f"{self.url} does not accept the personal access token (HTTP {response.status_code}): it has expired or "
                "was revoked; make a new one in Label Studio under Account & Settings"
            )
        return access

    def _check_response(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        path = response.request.url.path
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise ServiceError(
                f"{self.url}{path} refuses the token (HTTP 401); use a personal access token, since a legacy token "
                "works only where the organisation allows it"
            )
        raise ServiceError(
            f"{self.url}{path} responds with HTTP {response.status_code}{_describe_invalid_fields(response)}"
        )

    def _endless_error(self) -> ServiceError:
        return ServiceError(
            f"{self.url}/api/tasks repeats its pages, or has more than {_MAX_TASKS:,} tasks; restart the server and run "
            "again, or start a new project"
        )

    def _unreachable_error(self, path: str, error: httpx.TransportError) -> ServiceError:
        return ServiceError(f"{self.url}{path} {self._connection.describe_unreachable(error)}")


def _describe_invalid_fields(response: httpx.Response) -> str:
    """Name the fields that Label Studio found invalid, without its message, which can repeat a transcript."""
    try:
        wrong = response.json()["validation_errors"]
    except (ValueError, KeyError, TypeError):
        wrong = {}
    fields = f" for {', '.join(sorted(wrong))}" if isinstance(wrong, dict) and wrong else ""
    return f"{fields}; the server's log has the reason"


def _build_task_query(field: str, operator: str, kind: str, value: object) -> str:
    """Return a filter on one field, ordered by it."""
    condition = {"filter": f"filter:{field}", "operator": operator, "type": kind, "value": value}
    return json.dumps({"ordering": [field], "filters": {"conjunction": "and", "items": [condition]}})
