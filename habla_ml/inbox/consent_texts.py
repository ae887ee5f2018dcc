"""The consent texts: one Markdown file for each document, version and language, such as `voice-1.es.md`.

A person consents to the bytes that were shown. The database keeps each text from the first consent to it on, so that a
changed text under the same version is noticed and refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, and_, insert, select

from habla_ml.errors import SettingsError
from habla_ml.inbox.schema import CONSENT_TEXTS

DOCUMENT_PATTERN: Final = r"[a-z][a-z0-9_]{0,49}"
LANGUAGE_PATTERN: Final = r"[a-z]{2,3}"
_FILE_NAME: Final = re.compile(rf"({DOCUMENT_PATTERN})-([1-9]\d{{0,5}})\.({LANGUAGE_PATTERN})\.md", re.ASCII)
_LARGEST_BYTES: Final = 100_000


@dataclass(frozen=True)
class ConsentText:
    """A version of a document in one language."""

    document: str
    version: int
    language: str
    digest: str
    """sha256 of the file."""
    text: str
    """Markdown; its first line is the title after `# `."""

    @property
    def title(self) -> str:
        """The first line."""
        return self.text.partition("\n")[0].removeprefix("#").strip()


def load_consent_texts(folder: Path) -> list[ConsentText]:
    """Return all consent texts of a folder, by document, version and language.

    Raises `SettingsError` if the folder or a file cannot be read, or a Markdown file has no name of a consent text, no
    title, or more than 100,000 bytes.
    """
    try:
        paths = sorted(folder.glob("*.md"))
        contents = {path.name: path.read_bytes() for path in paths}
    except OSError as error:
        raise SettingsError(f"consent texts in {folder} cannot be read: {error}; fix consent.documents") from error
    if not contents:
        raise SettingsError(f"{folder} has no consent text; add one such as voice-1.es.md, or set consent.documents")
    texts = [_parse_text(name, content) for name, content in contents.items()]
    return sorted(texts, key=lambda each: (each.document, each.version, each.language))


def choose_offered_texts(texts: Iterable[ConsentText]) -> list[ConsentText]:
    """Return the newest version of each document, in all its languages."""
    newest: dict[str, int] = {}
    for each in texts:
        newest[each.document] = max(each.version, newest.get(each.document, 0))
    return [each for each in texts if each.version == newest[each.document]]


def find_consent_text(texts: Iterable[ConsentText], document: str, version: int, digest: str) -> ConsentText | None:
    """Return the text of a document's version with this sha256, in whatever language, or None."""
    return next((e for e in texts if (e.document, e.version, e.digest) == (document, version, digest)), None)


def keep_consent_text(connection: Connection, text: ConsentText) -> None:
    """Keep a text to which somebody consents.

    Raises `SettingsError` if people consented to another text under the same document, version and language.
    """
    columns = CONSENT_TEXTS.c
    place = {"document": text.document, "version": text.version, "language": text.language}
    kept = connection.scalar(select(columns.digest).where(and_(*(columns[key] == each for key, each in place.items()))))
    if kept is None:
        connection.execute(insert(CONSENT_TEXTS).values(**place, digest=text.digest, text=text.text))
    elif kept != text.digest:
        name = f"{text.document}-{text.version}.{text.language}.md"
        raise SettingsError(f"{name} has changed since people consented to it; restore it, and add the next version")


def _parse_text(name: str, content: bytes) -> ConsentText:
    match = _FILE_NAME.fullmatch(name)
    if match is None:
        raise SettingsError(f"{name} is not the name of a consent text; use <document>-<version>.<language>.md")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"consent text {name} is not UTF-8: {error}; save it as UTF-8") from None
    if not text.startswith("# ") or len(content) > _LARGEST_BYTES:
        raise SettingsError(
            f"consent text {name} has no title or over {_LARGEST_BYTES} bytes; begin with `# ` and a title"
        )
    return ConsentText(match[1], int(match[2]), match[3], hashlib.sha256(content).hexdigest(), text)
