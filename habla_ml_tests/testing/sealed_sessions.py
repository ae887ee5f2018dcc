"""A ledger that seals sessions."""

from __future__ import annotations

from habla_ml.corpus.split_ledger import SplitLedger, load_ledger, save_ledger
from habla_ml.lake import Lake, catalogue


def seal_sessions(lake: Lake, *sessions: str) -> None:
    """Record in the ledger that these sessions are sealed."""
    pointer = lake.read_pointer(catalogue.SPLIT_LEDGER)
    known = load_ledger(lake, pointer)
    save_ledger(lake, SplitLedger({**known.groups, **dict.fromkeys(sessions, "sealed")}, known.pinned_audio), pointer)
