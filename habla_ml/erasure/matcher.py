"""Find erased segments in tables, JSON values and pages, and remove them."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from habla_ml.lake import Lake, compute_digest
from habla_ml.lake.reachability import is_json
from habla_ml.lake.table import read_parquet
from habla_ml.names import canonical_name

START_BYTES: Final = 64
"""Bytes of an object that show its type."""

TEXT_COLUMNS: Final = frozenset({"text", "sentence", "machine_text", "seen_text", "hint", "reference", "hypothesis"})
_QUOTED_VALUE: Final = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""")
ID_COLUMNS: Final = {"segment_id": "segments", "audio_sha256": "sounds"}
"""Column of a table → the field of `ErasureMatcher` with the ids to look for; the index has marks of these columns."""
_MAX_NAME_CHARS: Final = 500
_NAME_KEYS: Final = frozenset({"speaker", "person", "in_several_splits"})
"""Keys whose value is a name of a person, or a list of names. Any other text can be equal to a name, such as a pseudonym
`test`, and is none."""
_NAMED_KEYS: Final = frozenset({"people"})
"""Keys of objects whose own keys are names."""
_SCORES_BY_SPEAKER: Final = "versions by speaker"
"""Place of the other versions in a comparison that draws speakers; the keys of their `counts` are names."""
_REMOVED: Final = object()


@dataclass(frozen=True)
class ErasureMatcher:
    """Identifiers and texts of the erased segments."""

    segments: frozenset[str]
    sounds: frozenset[str]
    names: frozenset[str] = frozenset()
    """Names of the person in their canonical form (`habla_ml.names`)."""
    texts: frozenset[str] = frozenset()
    """Texts by people and machines, searched for in pages only."""

    def find_erased_rows(self, table: pa.Table) -> pa.ChunkedArray | None:
        """Return a mask of the erased rows of a table; None if no column names segments or sounds."""
        found = None
        for column, kind in ID_COLUMNS.items():
            if column in table.column_names:
                erased = pa.array(sorted(getattr(self, kind)), pa.string())
                mask = pc.is_in(table[column].cast(pa.string()), erased)
                found = mask if found is None else pc.or_(found, mask)
        return found

    def clean_json(self, value: Any, replace_id: Callable[[str], str]) -> Any:
        """Return a JSON value without the erased items and keys.

        Removes objects that name an erased segment or sound. Replaces the person's names by an alias, where the formats of
        the lake have names. `replace_id` returns the new text of a string that may be the id of a rewritten object.
        """
        kept = self._clean(value, replace_id, "")
        return None if kept is _REMOVED else kept

    def is_in_text(self, page: str) -> bool:
        """Return whether a page contains the id, the sound's sha256 or any text of an erased segment."""
        if any(each in page for each in (*self.segments, *self.sounds)):
            return True
        unescaped = page.replace("\\", "")  # Markdown
        return any(
            form in page or form in unescaped
            for text in self.texts
            for form in {text, html.escape(text), json.dumps(text, ensure_ascii=False)[1:-1], " ".join(text.split())}
        )

    def _is_erased_name(self, text: str) -> bool:
        return bool(self.names) and len(text) <= _MAX_NAME_CHARS and canonical_name(text) in self.names

    def _clean(self, value: Any, replace_id: Callable[[str], str], place: str) -> Any:
        """Return the value at a key, `place`, without the erased items; an item of a list has the key of the list."""
        if isinstance(value, str):
            if value in self.segments or value in self.sounds:
                return _REMOVED
            return make_alias(value) if place in _NAME_KEYS and self._is_erased_name(value) else replace_id(value)
        if isinstance(value, dict):
            named = {each for each in (value.get("segment_id"), value.get("clip_id")) if isinstance(each, str)}
            if not named.isdisjoint(self.segments) or value.get("audio_sha256") in self.sounds:
                return _REMOVED
            return self._clean_object(value, replace_id, place)
        if isinstance(value, list):
            cleaned = (self._clean(below, replace_id, place) for below in value)
            return [each for each in cleaned if each is not _REMOVED]
        return value

    def _clean_object(self, value: dict[str, Any], replace_id: Callable[[str], str], place: str) -> dict[str, Any]:
        has_names = place in _NAMED_KEYS
        kept = {}
        for key, below in value.items():
            if key in self.segments or key in self.sounds:
                continue
            cleaned = self._clean(below, replace_id, "" if has_names else _find_place(value, key, place))
            if cleaned is not _REMOVED:
                kept[make_alias(key) if has_names and self._is_erased_name(key) else key] = cleaned
        return kept


def _find_place(value: dict[str, Any], key: str, place: str) -> str:
    """Return which kind of value an object, itself at `place`, has at a key: the key, or one with the same kind of names."""
    if key == "name" and value.get("dimension") == "speaker":
        return "speaker"
    if key == "versions" and isinstance(method := value.get("method"), dict) and method.get("unit") == "speaker":
        return _SCORES_BY_SPEAKER
    return "people" if key == "counts" and place == _SCORES_BY_SPEAKER else key


def redact_quotes(skipped_inputs: Any) -> Any:
    """Return a list of skipped inputs whose reasons have no quoted values, which earlier versions wrote."""
    return [{**each, "reason": _QUOTED_VALUE.sub("…", each["reason"])} for each in skipped_inputs]


def is_skipped_inputs(value: Any) -> bool:
    """Return whether a JSON value is a list of skipped inputs."""
    keys = {"session", "file", "reason"}
    return isinstance(value, list) and bool(value) and all(isinstance(e, dict) and e.keys() == keys for e in value)


def make_alias(name: str) -> str:
    """Return the alias of an erased person's name."""
    return f"erased-{compute_digest(['habla_ml.name', name])[:12]}"


def is_parquet(start: bytes) -> bool:
    """Return whether bytes that begin with `start` are a parquet table."""
    return start[:4] == b"PAR1"


def is_html(start: bytes) -> bool:
    """Return whether bytes that begin with `start` are HTML."""
    return start.lstrip()[:5].lower() in (b"<!doc", b"<html")


def get_format(value: Any) -> Any:
    """Return the format that a JSON value names, or None."""
    return value.get("format") if isinstance(value, dict) else None


def read_json_value(lake: Lake, object_id: str, start: bytes | None = None) -> Any:
    """Return the JSON value of an object that begins with `start` (None: read it), or None if it is not JSON."""
    if not is_json(lake.read_object_start(object_id, START_BYTES) if start is None else start):
        return None
    try:
        return json.loads(lake.get_bytes(object_id))
    except ValueError:
        return None


def _list_id_columns(path: Path) -> list[str]:
    return [name for name in pq.read_schema(path).names if name in ID_COLUMNS]


def count_erased_rows(path: Path, matcher: ErasureMatcher) -> int:
    """Return the number of erased rows in a parquet table; reads its ids only."""
    found = matcher.find_erased_rows(read_parquet(path, _list_id_columns(path)))
    return 0 if found is None else int(pc.sum(found).as_py() or 0)


def write_without_erased_rows(path: Path, matcher: ErasureMatcher, target: Path) -> None:
    """Copy a parquet table without its erased rows, one row group in memory at a time."""
    source = pq.ParquetFile(path)
    schema = source.schema_arrow
    # FLAC does not compress again.
    compression = {name: "none" if name == "audio" else "zstd" for name in schema.names}
    with pq.ParquetWriter(target, schema, compression=compression, write_statistics=False) as writer:
        for number in range(source.num_row_groups):
            table = source.read_row_group(number)
            erased = matcher.find_erased_rows(table)
            writer.write_table(table if erased is None else table.filter(pc.invert(erased)))


def collect_erased_texts(paths: Iterable[Path], matcher: ErasureMatcher) -> set[str]:
    """Return all texts by people and machines in the erased rows of parquet tables."""
    texts: set[str] = set()
    for path in paths:
        wanted = [name for name in pq.read_schema(path).names if name in TEXT_COLUMNS]
        columns = _list_id_columns(path)
        if wanted and columns:
            table = read_parquet(path, [*columns, *wanted])
            table = table.filter(matcher.find_erased_rows(table))
            texts.update(value for name in wanted for value in table[name].to_pylist() if value and value.strip())
    return texts
