"""Tags of an HTML page that load or run something."""

from __future__ import annotations

import base64
import hashlib
import json
from html.parser import HTMLParser


class TagCollector(HTMLParser):
    """Collects tags, sources, links and event handlers."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.handlers: list[str] = []
        self.anchors: list[str] = []
        self.links: list[str] = []
        """Targets of links within the page, without the `#`."""
        self.data: dict[str, str] = {}
        """Id of an embedded JSON text → the text."""
        self.scripts: list[str] = []
        """Sources of scripts that run."""
        self._script: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = [value or "" for name, value in attrs if name in {"src", "href", "srcset", "data"}]
        self.links += [each[1:] for each in found if each.startswith("#")]
        self.sources += [each for each in found if not each.startswith("#")]
        self.anchors += [value or "" for name, value in attrs if name == "id"]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag == "script":
            values = dict(attrs)
            self._script = values.get("id") or "" if values.get("type") == "application/json" else None

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            if self._script is None:
                self.scripts.append(data)
            else:
                self.data[self._script] = self.data.get(self._script, "") + data

    @property
    def dangling_links(self) -> list[str]:
        """Links to missing targets."""
        return [each for each in self.links if each not in self.anchors]


def assert_self_contained(page: str) -> None:
    """Check that the page embeds everything and runs no script but those whose hash its policy allows."""
    found = TagCollector(page)
    for script in found.scripts:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in page
    for text in found.data.values():
        json.loads(text)
    assert not {"img", "link", "iframe", "object", "base", "form"} & set(found.tags)
    assert found.handlers == []
    assert all(source.startswith("data:audio/flac;base64,") for source in found.sources)
    assert "default-src 'none'" in page
    assert "@import" not in page
    assert "url(" not in page
