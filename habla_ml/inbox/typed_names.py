"""The names that people type and the database keeps: of accounts, and the pseudonyms of contributors."""

from __future__ import annotations

from typing import Final
from unicodedata import category

from habla_ml.errors import InputError
from habla_ml.names import canonical_name

LONGEST_NAME: Final = 100


def require_name_key(typed: str, what: str) -> str:
    """Return the form by which a name is compared; `what` is what it names.

    Raises `InputError` if it has no visible character, over 100 characters as typed or in that form, or a control
    character. PostgreSQL keeps none of the latter two.
    """
    key = canonical_name(typed)
    if not key or max(len(key), len(typed)) > LONGEST_NAME:
        raise InputError(f"{what} has {len(typed)} characters, {len(key)} that count; use 1 to {LONGEST_NAME}")
    if any(category(each) == "Cc" for each in typed):
        raise InputError(f"{what} has a control character; leave it out")
    return key
