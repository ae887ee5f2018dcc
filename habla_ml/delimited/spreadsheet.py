"""How a table is written that a person opens in a spreadsheet by a double click.

Excel reads accents in UTF-8 only with a byte order mark. In Spanish it expects semicolons, and shows a table with commas in
one column. LibreOffice and Numbers find the separator themselves.
"""

from __future__ import annotations

from typing import Final

ENCODING: Final = "utf-8-sig"
SEPARATOR: Final = ";"
