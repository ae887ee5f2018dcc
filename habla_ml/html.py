"""Self-contained HTML pages: one file without requests; every text is escaped, as a transcript may be hostile.

A package keeps its own templates and styles and extends `page.html.j2`, which provides the head, the content security
policy and the common style. `table.html.j2` draws a `habla_ml.tables.TextTable`, `document.html.j2` the sections of
`habla_ml.document`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from itertools import count
from typing import Any

import jinja2
from markupsafe import Markup


def open_template(package: str, name: str, **filters: Callable[..., Any]) -> jinja2.Template:
    """Return the template `name` in the folder `templates` of `package`; it may extend and include the common ones.

    Every text is escaped, an undefined name is an error, and the filter `audio` turns FLAC bytes into a data URL.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package), jinja2.PackageLoader("habla_ml")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(audio=_encode_audio, block_kind=lambda block: type(block).__name__, **filters)
    ids = count(1)
    environment.globals["make_id"] = lambda: f"term-{next(ids)}"
    return environment.get_template(name)


@dataclass(frozen=True)
class PageScript:
    """A script of the package that a page embeds; the page's content security policy allows it by its hash."""

    source: Markup

    @classmethod
    def load(cls, package: str, name: str) -> PageScript:
        """Read the script `name` in the folder `templates` of `package`."""
        return cls(Markup((files(package) / "templates" / name).read_text("utf-8")))  # noqa: S704 - the package's own

    @property
    def policy(self) -> str:
        """The source expression of the content security policy."""
        return f"'sha256-{base64.b64encode(hashlib.sha256(self.source.encode()).digest()).decode()}'"


def _encode_audio(flac: bytes) -> str:
    return f"data:audio/flac;base64,{base64.b64encode(flac).decode()}"
