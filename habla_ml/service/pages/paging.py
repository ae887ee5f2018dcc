"""Long lists on the pages: a search, and one page of what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import Depends, Query

ROWS_PER_PAGE: Final = 25
_MOST_PAGES: Final = 1_000_000


@dataclass(frozen=True)
class ListQuery:
    """What a person looks for, and which page of it."""

    search: str
    """A part of the name, as typed; empty for all."""
    number: int
    """Counted from 1."""


EVERYTHING: Final = ListQuery("", 1)
"""The first page of all."""


@dataclass(frozen=True)
class ListPage:
    """A page of a list that is in the database."""

    search: str
    number: int
    total: int
    """Rows that the search finds."""

    @classmethod
    def choose(cls, query: ListQuery, total: int) -> ListPage:
        """Return the page that a person asked for, or the last one if there are fewer."""
        return cls(query.search, min(query.number, max(1, -(-total // ROWS_PER_PAGE))), total)

    @property
    def skipped(self) -> int:
        """Rows before the page."""
        return (self.number - 1) * ROWS_PER_PAGE

    @property
    def last_row(self) -> int:
        """Number of the last row, counted from 1."""
        return min(self.total, self.skipped + ROWS_PER_PAGE)

    def link(self, step: int) -> str:
        """Return the query of the page some steps on or back; empty where there is none."""
        number = self.number + step
        if not 1 <= number <= -(-self.total // ROWS_PER_PAGE):
            return ""
        return "?" + urlencode({**({"search": self.search} if self.search else {}), "page": number})


def read_list_query(
    search: Annotated[str, Query(max_length=100)] = "",
    page: Annotated[int, Query(ge=1, le=_MOST_PAGES)] = 1,
) -> ListQuery:
    """Return what the address asks for."""
    return ListQuery(search, page)


CurrentListQuery = Annotated[ListQuery, Depends(read_list_query)]
"""Type of a handler's parameter that receives the query."""
