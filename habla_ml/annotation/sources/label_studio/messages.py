"""Responses of a Label Studio server. Every response is validated here before it is used."""

from __future__ import annotations

from typing import Annotated, Any, Final, Generic, TypeVar

from pydantic import AliasChoices, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

Task = TypeVar("Task")
MAX_TEXT_CHARS: Final = 10_000
"""Characters of one transcript; a segment lasts at most 30 s."""
MAX_ATTEMPTS: Final = 10_000
"""Attempts per segment; one a week for a century is half as many."""


class _ServerResponse(BaseModel):
    """A response. Unknown fields are ignored, since each version adds some; errors do not repeat the input."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


def _require_valid_unicode(text: Any) -> Any:
    if isinstance(text, str) and any("\ud800" <= each <= "\udfff" for each in text):
        raise ValueError("is no valid Unicode")
    return text


Text = Annotated[str, BeforeValidator(_require_valid_unicode), Field(max_length=MAX_TEXT_CHARS)]
Identifier = Annotated[int, Field(ge=1, lt=2**63)]
Email = Annotated[
    str, BeforeValidator(lambda value: _require_valid_unicode("" if value is None else value)), Field(max_length=320)
]


class User(_ServerResponse):
    """A person with a login."""

    id: Identifier
    email: Email = ""


class ServerProject(_ServerResponse):
    """A project in the server's list."""

    id: Identifier
    title: str
    created_at: AwareDatetime
    label_config: str


class ProjectPage(_ServerResponse):
    """One page of projects."""

    results: list[ServerProject]


class SourceStorage(_ServerResponse):
    """A registered source storage: `path` of local files, or `bucket` and `prefix`."""

    path: str | None = None
    bucket: str | None = None
    prefix: str | None = None


def describe_validation_error(error: ValidationError, whole: str) -> str:
    """Return key and message of the first fault, without the input; `whole` names a value that is wrong as a whole."""
    first = error.errors(include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or whole}: {first['msg']}"


class ImportResponse(_ServerResponse):
    """The response to an import; empty from an edition that imports in the background."""

    task_ids: list[Identifier] = []


class TaskPage(_ServerResponse, Generic[Task]):
    """One page of tasks."""

    tasks: list[Task]


class TaskData(_ServerResponse):
    """The pushed data of a task, as the server returns it; users with the permission can have changed it."""

    segment_id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    day: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    hint: Text = ""
    model_version: Annotated[str, BeforeValidator(_require_valid_unicode), Field(max_length=200)] = ""
    attempt: Annotated[int, Field(ge=0, le=MAX_ATTEMPTS, alias="round")] = 0


class ListedTask(_ServerResponse):
    """A task in a listing of ids."""

    id: Identifier
    data: dict[str, Any]
    total_annotations: int = 0

    @property
    def segment_id(self) -> str | None:
        """The task's segment; None where the task is not one of ours."""
        segment = self.data.get("segment_id")
        return segment if isinstance(segment, str) else None

    @property
    def attempt(self) -> int:
        """The attempt of the task; 0 where its data lack it or hold an invalid one."""
        number = self.data.get("round")
        return number if isinstance(number, int) and 0 <= number <= MAX_ATTEMPTS else 0


class TaskTimestamp(_ServerResponse):
    """The fields by which changed tasks are paged."""

    id: Identifier
    updated_at: AwareDatetime


class ChangedTask(TaskTimestamp):
    """A task with its annotations, which are validated separately."""

    data: TaskData
    annotations: Annotated[list[Any], Field(max_length=1_000)]


class Author(_ServerResponse):
    """The person of an annotation."""

    id: Annotated[Identifier, Field(validation_alias=AliasChoices("id", "user_id", "pk"))]
    email: Email = ""


def _expand_author(value: Any) -> Any:
    """Return an author as an object; some versions give the bare id."""
    return {"id": value} if isinstance(value, int) and not isinstance(value, bool) else value


AuthorOrId = Annotated[Author, BeforeValidator(_expand_author)]


class Annotation(_ServerResponse):
    """What one person submitted for one task."""

    id: Identifier
    result: Annotated[list[Any], Field(max_length=1_000)]
    was_cancelled: bool
    completed_by: AuthorOrId | None = None
    updated_by: AuthorOrId | None = None
    updated_at: AwareDatetime


class TextAreaValue(_ServerResponse):
    """Text of a text area."""

    text: list[Text] | Text
    start: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Seconds in the clip, where the project asks for a text per region."""


class ChoicesValue(_ServerResponse):
    """Values of a group of choices."""

    choices: list[Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]]


class TextAreaResult(_ServerResponse):
    """The transcript that was typed."""

    value: TextAreaValue


class ChoicesResult(_ServerResponse):
    """Why the segment is unusable."""

    value: ChoicesValue
