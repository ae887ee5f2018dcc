"""How a table is written that a person opens in a spreadsheet by a double click.

Excel reads accents in UTF-8 only with a byte order mark. In Spanish it expects semicolons, and shows a table with commas in
one column. LibreOffice and Numbers find the separator themselves.

A cell that begins with `=`, `+`, `-` or `@` is a formula there. A text of a device or a model must not be one: it could open
an address, and "-Hola" would become an error.
"""

from __future__ import annotations

from typing import Final

ENCODING: Final = "utf-8-sig"
SEPARATOR: Final = ";"
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


def write_cell(text: str) -> str:
    """Return the content of a cell that shows a text and is no formula: with a blank before what would begin one."""
    return f" {text}" if text.startswith(_FORMULA_STARTS) else text


def read_cell(cell: str) -> str:
    """Return the text that `write_cell` wrote."""
    return cell[1:] if cell[:1] == " " and cell[1:].startswith(_FORMULA_STARTS) else cell
