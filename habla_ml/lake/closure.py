"""What the pointers of a lake name: their objects, the objects these name, and so on.

An object names another one where its JSON holds the other's sha256, as a value or as a key. Anything else (a table, a
weight, a page) names nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from habla_ml.lake.lake import Lake

_ID: Final = re.compile(r"[0-9a-f]{64}")
_START_BYTES: Final = 64


def is_json(start: bytes) -> bool:
    """Whether bytes that begin with `start` can be a JSON object or list."""
    return start.lstrip()[:1] in (b"{", b"[")


def ids_in(value: Any) -> Iterator[str]:
    """Everything in a JSON value that could be an object's id, keys included."""
    if isinstance(value, str):
        if _ID.fullmatch(value):
            yield value
    elif isinstance(value, dict):
        for key, below in value.items():
            yield from ids_in(key)
            yield from ids_in(below)
    elif isinstance(value, list):
        for below in value:
            yield from ids_in(below)


def named_objects(lake: Lake, present: Collection[str], but_for: Collection[str] = ()) -> dict[str, str]:
    """Each object that some pointer leads to → the name of one such pointer.

    Args:
        lake: the lake.
        present: ids of all its objects.
        but_for: names of pointers that are not followed.
    """
    found: dict[str, str] = {}
    for name in lake.pointers(""):
        pointer = None if name in but_for else lake.pointer(name)
        waiting = [] if pointer is None else list(ids_in(dict(pointer.value)))
        while waiting:
            each = waiting.pop()
            if each in found or each not in present:
                continue
            found[each] = name
            if is_json(lake.start_of(each, _START_BYTES)):
                waiting += _ids_of_object(lake, each)
    return found


def _ids_of_object(lake: Lake, object_id: str) -> list[str]:
    """Ids in an object that looks like JSON; those of a text that is none are taken to be named as well."""
    text = lake.get_bytes(object_id).decode("utf-8", "replace")
    return re.findall(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", text)
