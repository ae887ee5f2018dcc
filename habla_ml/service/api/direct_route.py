"""A route whose handler reads the request itself, for what comes by the million.

FastAPI resolves the parameters of a handler in about the time that the rest of an upload takes. Here a pydantic model
describes them for the OpenAPI document, and the handler reads them with it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

Parameters = TypeVar("Parameters", bound=BaseModel)


class DirectRoute(APIRoute):
    """Calls the handler with the request only; what the router depends on is not called."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler as it is."""
        return self.endpoint


def read_parameters(request: Request, model: type[Parameters]) -> Parameters:
    """Return the parameters that a model names: of the path, or else the header, `Habla-Session` for `habla_session`.

    Raises `RequestValidationError` if one is missing or wrong.
    """
    found = {}
    for name in model.model_fields:
        value = request.path_params.get(name) or request.headers.get(_name_header(name))
        if value is not None:
            found[name] = value
    try:
        return model.model_validate(found)
    except ValidationError as error:
        raise RequestValidationError(
            [{**each, "loc": _locate(request, str(each["loc"][0]))} for each in error.errors()]
        ) from error


def describe_parameters(model: type[BaseModel], path: str) -> list[dict[str, Any]]:
    """Return the parameters of an operation in the OpenAPI document; those of the path are in braces there."""
    schema = model.model_json_schema()
    described = []
    for name, value in schema["properties"].items():
        is_in_path = f"{{{name}}}" in path
        place = {"name": name, "in": "path"} if is_in_path else {"name": _name_header(name), "in": "header"}
        texts = {"description": value["description"]} if "description" in value else {}
        described.append({**place, **texts, "required": name in schema["required"], "schema": _simplify_schema(value)})
    return described


def _simplify_schema(value: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter as a string.

    A missing header is no null, and generators of clients leave out an operation with a header of another type.
    """
    schema = {key: each for key, each in value.items() if key not in ("anyOf", "default", "description", "title")}
    for each in value.get("anyOf", ()):
        if each["type"] != "null":
            schema.update(each)
    if schema.get("format") == "date-time":
        del schema["format"]
    return schema


def _name_header(field: str) -> str:
    return field.replace("_", "-")


def _locate(request: Request, name: str) -> tuple[str, str]:
    return ("path", name) if name in request.path_params else ("header", _name_header(name))
