"""A document as data: sections of paragraphs, lists, tables and drawings, built once for Markdown and HTML.

`templates/document.html.j2` draws the same sections in HTML. Closed details and drawings are for the page only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from habla_ml.tables import TextTable, escape_markdown, render_markdown_table

Tone = Literal["", "soft", "strong", "override"]
"""CSS class of a paragraph."""


@dataclass(frozen=True)
class Heading:
    """A heading below that of the section."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str
    tone: Tone = ""
    command: str = ""
    """A command line after the text."""


@dataclass(frozen=True)
class BulletList:
    """One line of plain text for each item."""

    items: tuple[str, ...]
    language: str = ""
    """BCP 47 tag of the items where they are not English."""


@dataclass(frozen=True)
class Drawing:
    """A picture that shows nothing that the text next to it does not say."""

    svg: Markup


@dataclass(frozen=True)
class Details:
    """Blocks that the reader can fold; Markdown leaves out those that start closed."""

    summary: str
    blocks: tuple[Block, ...]
    is_open: bool = False


Block = Heading | Paragraph | BulletList | TextTable | Drawing | Details


@dataclass(frozen=True)
class Section:
    """A titled part of a document."""

    id: str
    """Anchor of the HTML page; a plain identifier."""
    title: str
    blocks: tuple[Block, ...]
    label: str = ""
    """Short title in the navigation; empty leaves the section out of it."""

    @classmethod
    def of(cls, id_: str, title: str, blocks: Iterable[Block | None], label: str = "") -> Section:
        """Build a section without the blocks that are None or empty."""
        return cls(id_, title, tuple(each for each in blocks if each is not None and not _is_empty(each)), label)

    @property
    def tables(self) -> Iterator[TextTable]:
        """Every table that is not in closed details."""
        return _list_tables(self.blocks)


def render_markdown_section(section: Section) -> str:
    """Return the section in Markdown; empty without blocks."""
    blocks = [text for each in section.blocks if (text := _render_block(each))]
    return "\n\n".join([f"## {escape_markdown(section.title)}", *blocks]) if blocks else ""


def render_markdown_list(items: Iterable[str]) -> str:
    """Return a list of plain texts in Markdown."""
    return "\n".join(f"- {escape_markdown(each)}" for each in items)


def _is_empty(block: Block) -> bool:
    match block:
        case TextTable(rows=content) | BulletList(items=content):
            return not content
        case Details(blocks=blocks):
            return all(map(_is_empty, blocks))
        case Heading(text=content) | Drawing(svg=content):
            return not content
        case _:
            return not block.text and not block.command


def _list_tables(blocks: Iterable[Block]) -> Iterator[TextTable]:
    for block in blocks:
        if isinstance(block, TextTable):
            yield block
        elif isinstance(block, Details) and block.is_open:
            yield from _list_tables(block.blocks)


def _render_block(block: Block) -> str:
    match block:
        case Heading(text=text):
            return f"### {escape_markdown(text)}"
        case Paragraph():
            return _render_paragraph(block)
        case BulletList(items=items):
            return render_markdown_list(items)
        case TextTable():
            return render_markdown_table(block)
        case Details(blocks=blocks, is_open=True):
            return "\n\n".join(text for each in blocks if (text := _render_block(each)))
        case _:
            return ""


def _render_paragraph(block: Paragraph) -> str:
    text = escape_markdown(block.text)
    if block.tone == "strong" and text:
        text = f"**{text}**"
    # Nothing can be escaped inside a code span.
    command = " ".join(block.command.replace("`", "").split())
    return " ".join([*filter(None, [text]), *([f"`{command}`"] if command else [])])
