"""HTML pages that are one file each: no script, no request, every text escaped, since a transcript may be hostile.

A room keeps its own templates and style and extends `page.html.j2`, which brings the head, the policy that forbids
scripts and requests, and the common style. What a page shows belongs to the room whose page it is.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import jinja2


def open_template(package: str, name: str, **filters: Callable[..., Any]) -> jinja2.Template:
    """The template `name` in the folder `templates` of `package`, which may extend and include those of this room.

    Every text is escaped, a name that is not given is an error, and `audio` turns FLAC bytes into a player's source.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package), jinja2.PackageLoader("habla_ml")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(audio=_encode_audio, **filters)
    return environment.get_template(name)


def _encode_audio(flac: bytes) -> str:
    return f"data:audio/flac;base64,{base64.b64encode(flac).decode()}"
