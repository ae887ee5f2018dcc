"""What a page would fetch or run."""

from __future__ import annotations

from html.parser import HTMLParser


class Tags(HTMLParser):
    """Collects tags, and whatever would be fetched or run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.handlers: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "data"}]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def assert_needs_nothing(page: str) -> None:
    """The page runs no script, and all it plays is in itself."""
    found = Tags(page)
    assert not {"script", "img", "link", "iframe", "object", "base", "form"} & set(found.tags)
    assert found.handlers == []
    assert all(source.startswith("data:audio/flac;base64,") for source in found.sources)
    assert "default-src 'none'" in page
    assert "@import" not in page
    assert "url(" not in page
