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

_OBJECT_ID_PATTERN: Final = re.compile(r"[0-9a-f]{64}")
_START_BYTES: Final = 64


def is_json(start: bytes) -> bool:
    """Whether bytes that begin with `start` can be a JSON object or list."""
    return start.lstrip()[:1] in (b"{", b"[")


def find_ids(value: Any) -> Iterator[str]:
    """Everything in a JSON value that could be an object's id, keys included."""
    if isinstance(value, str):
        if _OBJECT_ID_PATTERN.fullmatch(value):
            yield value
    elif isinstance(value, dict):
        for key, below in value.items():
            yield from find_ids(key)
            yield from find_ids(below)
    elif isinstance(value, list):
        for below in value:
            yield from find_ids(below)


def reachable_objects(lake: Lake, present: Collection[str], excluded: Collection[str] = ()) -> dict[str, str]:
    """Each object that some pointer leads to → the name of one such pointer.

    Args:
        lake: the lake.
        present: ids of all its objects.
        excluded: names of pointers that are not followed.
    """
    found: dict[str, str] = {}
    for name in lake.list_pointers(""):
        pointer = None if name in excluded else lake.read_pointer(name)
        waiting = [] if pointer is None else list(find_ids(dict(pointer.value)))
        while waiting:
            each = waiting.pop()
            if each in found or each not in present:
                continue
            found[each] = name
            if is_json(lake.read_object_start(each, _START_BYTES)):
                waiting += _find_ids_in_object(lake, each)
    return found


def _find_ids_in_object(lake: Lake, object_id: str) -> list[str]:
    """Ids in an object that looks like JSON; those of a text that is none are taken to be named as well."""
    text = lake.get_bytes(object_id).decode("utf-8", "replace")
    return re.findall(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", text)
