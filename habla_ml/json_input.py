"""Parse JSON from outside with a bounded cost.

`json.loads` builds a Python object for every value, so 24 MB of `{}` become 8 million dictionaries. The number of values
is known before any object exists: each one except the first follows a comma or an opening bracket. Counting these bytes
costs 1 ms per MB. Commas and brackets inside texts count too, so a bound must leave room for them.

Python's own parser is used because it reads what Habla's `json.dump` writes, `NaN` and lone surrogates included; `msgspec`
and `orjson` refuse both. Of two equal keys in an object the last one counts, as in Habla.
"""

from __future__ import annotations

import json
from typing import Any, Final

from habla_ml.errors import InputError

MAX_JSON_VALUES: Final = 1_000_000
"""Values in one file: 20,000 segments of a session have 260,000. They need at most 250 MB of memory."""
# UTF-16 and UTF-32 hold these bytes too, so the count is an upper bound in every encoding that JSON allows.
_VALUE_STARTS: Final = (b",", b"[", b"{")


def parse_json(data: bytes, max_values: int = MAX_JSON_VALUES) -> Any:
    """Return the value of a JSON document in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        InputError: It is not JSON, is nested too deeply, has a number of more than 4,300 digits, or has more than
            `max_values` values. The message is the end of a sentence whose subject is the file; it quotes no content.
    """
    n_values = sum(map(data.count, _VALUE_STARTS))
    if n_values > max_values:
        raise InputError(f"has about {n_values:,} JSON values, more than the {max_values:,} allowed")
    try:
        return json.loads(data)
    except RecursionError:
        raise InputError("is not JSON that can be read: its lists and objects are nested too deeply") from None
    except ValueError as error:
        raise InputError(f"is not JSON: {error}") from None
