"""Which objects the pointers of a lake lead to.

An object names another one if its JSON holds the other's sha256, as a value or as a key. Tables, weights and pages name
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Final

_OBJECT_ID_PATTERN: Final = re.compile(r"[0-9a-f]{64}")
_OBJECT_ID_IN_TEXT: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


def is_json(start: bytes) -> bool:
    """Return whether bytes that begin with `start` can be a JSON object or list."""
    return start.lstrip()[:1] in (b"{", b"[")


def find_ids(value: Any) -> Iterator[str]:
    """Yield every string of a JSON value that can be an object's id, keys included."""
    if isinstance(value, str) and _OBJECT_ID_PATTERN.fullmatch(value):
        yield value
    elif isinstance(value, dict | list):
        for below in chain(value, value.values()) if isinstance(value, dict) else value:
            yield from find_ids(below)


def find_ids_in_text(text: str) -> list[str]:
    """Return everything in the text of a JSON object that can be an object's id, also where the JSON is malformed."""
    return _OBJECT_ID_IN_TEXT.findall(text)


def reachable_objects(
    pointers: Iterable[tuple[str, Mapping[str, Any]]], present: Collection[str], read_json: Callable[[str], bytes]
) -> dict[str, str]:
    """Return each object of `present` that some pointer leads to → the name of one such pointer.

    `read_json` returns an object's bytes if it can be JSON, otherwise no bytes. The ids in malformed JSON count.
    """
    found: dict[str, str] = {}
    for name, value in pointers:
        waiting = list(find_ids(dict(value)))
        while waiting:
            each = waiting.pop()
            if each in present and each not in found:
                found[each] = name
                waiting += find_ids_in_text(read_json(each).decode("utf-8", "replace"))
    return found
