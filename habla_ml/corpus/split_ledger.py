"""The ledger of splits: the permanent decisions about sessions, sounds and people.

It is a JSON object. The sounds of a large corpus are millions, so from `MAX_LISTED_SOUNDS` on they are a parquet table, and
`pinned_audio` is its object id. Smaller ledgers keep the format that earlier versions read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import pyarrow as pa

from habla_ml.corpus.snapshot import Split
from habla_ml.errors import CorpusError
from habla_ml.lake import Lake, Pointer, catalogue
from habla_ml.lake.shards import iterate_batches

LEDGER_FORMAT: Final = "habla_ml.split_ledger/2"
TABLE_FORMAT: Final = "habla_ml.split_ledger/3"
"""With a table of sounds."""
_READABLE_FORMATS: Final = ("habla_ml.split_ledger/1", LEDGER_FORMAT, TABLE_FORMAT)
"""Format 1 has no sealed sessions."""
MAX_LISTED_SOUNDS: Final = 10_000
PINNED_SCHEMA: Final = pa.schema([("audio_sha256", pa.string()), ("split", pa.string())])

PinnedAudio = Mapping[str, Split] | str
"""sha256 of a sound → its split, or the object id of a table of these, sorted by sound."""


@dataclass(frozen=True)
class SplitLedger:
    """The permanent decisions about splits."""

    groups: Mapping[str, Split]
    """Session → its split."""
    pinned_audio: PinnedAudio
    """The audio that has copies, or that left the corpus, and the only split it may be in."""
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
            f"{', '.join(_READABLE_FORMATS)}: install the version that wrote it, or a newer one"
        )
    return SplitLedger(body["groups"], body["pinned_audio"], body.get("people", {}))


def save_ledger(lake: Lake, ledger: SplitLedger, seen: Pointer | None) -> str:
    """Publish the ledger and return its object id; raise `PointerMovedError` if it moved since `seen` was read."""
    is_table = isinstance(ledger.pinned_audio, str)
    ledger_id = lake.put_json({"format": TABLE_FORMAT if is_table else LEDGER_FORMAT, **asdict(ledger)})
    lake.move_pointer(catalogue.SPLIT_LEDGER, {"ledger": ledger_id}, seen)
    return ledger_id


def iterate_pinned_audio(lake: Lake, ledger: SplitLedger) -> Iterator[pa.RecordBatch]:
    """Yield the pinned sounds and their splits, as `PINNED_SCHEMA`."""
    if isinstance(ledger.pinned_audio, str):
        yield from (batch.cast(PINNED_SCHEMA) for batch in iterate_batches(lake, ledger.pinned_audio))
    else:
        columns = (ledger.pinned_audio.keys(), ledger.pinned_audio.values())
        yield pa.record_batch([pa.array(each, pa.string()) for each in columns], schema=PINNED_SCHEMA)


def find_sealed_sessions(lake: Lake) -> frozenset[str]:
    """Return the names of all sealed sessions, and of their copies."""
    ledger = load_ledger(lake, lake.read_pointer(catalogue.SPLIT_LEDGER))
    return frozenset(session for session, split in ledger.groups.items() if split == "sealed")
