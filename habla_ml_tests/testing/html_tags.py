"""What a page would fetch or run."""

from __future__ import annotations

from html.parser import HTMLParser


class TagCollector(HTMLParser):
    """Collects tags, and whatever would be fetched or run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.handlers: list[str] = []
        self.anchors: list[str] = []
        self.links: list[str] = []
        """Places of this page that it links to, without the `#`."""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = [value or "" for name, value in attrs if name in {"src", "href", "srcset", "data"}]
        self.links += [each[1:] for each in found if each.startswith("#")]
        self.sources += [each for each in found if not each.startswith("#")]
        self.anchors += [value or "" for name, value in attrs if name == "id"]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    @property
    def dangling_links(self) -> list[str]:
        """Links to places that the page does not have."""
        return [each for each in self.links if each not in self.anchors]


def assert_self_contained(page: str) -> None:
    """The page runs no script, and all it plays is in itself."""
    found = TagCollector(page)
    assert not {"script", "img", "link", "iframe", "object", "base", "form"} & set(found.tags)
    assert found.handlers == []
    assert all(source.startswith("data:audio/flac;base64,") for source in found.sources)
    assert "default-src 'none'" in page
    assert "@import" not in page
    assert "url(" not in page
