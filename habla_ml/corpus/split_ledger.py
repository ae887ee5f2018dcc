"""The ledger of splits: the permanent decisions about sessions, sounds and people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from habla_ml.corpus.snapshot import Split
from habla_ml.errors import CorpusError
from habla_ml.lake import Lake, Pointer, catalogue

LEDGER_FORMAT: Final = "habla_ml.split_ledger/2"
_READABLE_FORMATS: Final = ("habla_ml.split_ledger/1", LEDGER_FORMAT)
"""Format 1 has no sealed sessions."""


@dataclass(frozen=True)
class SplitLedger:
    """The permanent decisions about splits."""

    groups: Mapping[str, Split]
    """Session → its split."""
    pinned_audio: Mapping[str, Split]
    """sha256 of audio that has copies, or that left the corpus → the only split it may be in."""
    people: Mapping[str, Split] = field(default_factory=dict)
    """Enrolled student → their first split."""


def load_ledger(lake: Lake, pointer: Pointer | None) -> SplitLedger:
    """Read the ledger that `splits/ledger` names; an empty one if there is none yet.

    Raises:
        CorpusError: The ledger has a format that this version does not know.
    """
    if pointer is None:
        return SplitLedger({}, {})
    body: Any = lake.get_json(pointer.value["ledger"])
    if body.get("format") not in _READABLE_FORMATS:
        raise CorpusError(
            f"the ledger of splits has the format {body.get('format')!r}; this version of habla_ml reads "
            f"{' and '.join(_READABLE_FORMATS)}: install the version that wrote it, or a newer one"
        )
    return SplitLedger(body["groups"], body["pinned_audio"], body.get("people", {}))


def save_ledger(lake: Lake, ledger: SplitLedger, seen: Pointer | None) -> str:
    """Publish the ledger and return its object id; raise `PointerMovedError` if it moved since `seen` was read."""
    ledger_id = lake.put_json({"format": LEDGER_FORMAT, **asdict(ledger)})
    lake.move_pointer(catalogue.SPLIT_LEDGER, {"ledger": ledger_id}, seen)
    return ledger_id


def find_sealed_sessions(lake: Lake) -> frozenset[str]:
    """Return the names of all sealed sessions, and of their copies."""
    ledger = load_ledger(lake, lake.read_pointer(catalogue.SPLIT_LEDGER))
    return frozenset(session for session, split in ledger.groups.items() if split == "sealed")
