"""Search every byte of a lake and every column of its tables for texts."""

from __future__ import annotations

import json
from collections.abc import Iterable

from habla_ml.lake import Store
from habla_ml_tests.testing.full_lake import iterate_stored_bytes


def find_texts_in_lake(store: Store, texts: Iterable[str]) -> list[str]:
    """Return the places of the texts, in plain UTF-8 or escaped in JSON."""
    forms = {form for text in texts for form in (text.encode(), json.dumps(text)[1:-1].encode())}
    return [f"{form!r} in {name}" for name, data in iterate_stored_bytes(store, []) for form in forms if form in data]
