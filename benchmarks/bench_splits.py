"""Split assignment of 1,000,000 segments in 50,000 sessions, against one shuffle of the sessions in pandas.

The bound is 30 s. The peer has no ledger, no balanced hours and no publication.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from synthetic_corpus import CONVENTIONS_FOLDER, CorpusShape, open_lake, settings_of, write_corpus

from habla_ml.corpus.build import build_day
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.splits import make_snapshot

DAYS, SEGMENTS_A_SESSION = 10, 20


def main(segments: int) -> int:
    """Print both times and their ratio; non-zero above the bound."""
    conventions = load_conventions(CONVENTIONS_FOLDER / "orthographic-v1.yaml")
    with tempfile.TemporaryDirectory() as scratch:
        lake, settings = open_lake(Path(scratch)), settings_of(Path(scratch))
        for day in write_corpus(lake, CorpusShape(segments, segments // DAYS, SEGMENTS_A_SESSION)):
            build_day(lake, day, conventions, settings)
        started = time.perf_counter()
        snapshot = make_snapshot(lake, settings, conventions)
        ours = time.perf_counter() - started
    frame = pd.DataFrame({"session": np.arange(segments) // SEGMENTS_A_SESSION})
    started = time.perf_counter()
    sessions = frame["session"].drop_duplicates().sample(frac=1, random_state=0).to_numpy()
    tenth = len(sessions) // 10
    frame["split"] = "train"
    frame.loc[frame["session"].isin(sessions[:tenth]), "split"] = "test"
    frame.loc[frame["session"].isin(sessions[tenth : 2 * tenth]), "split"] = "validation"
    peer = time.perf_counter() - started
    print(f"habla_ml       {ours:.2f} s   {dict(snapshot.counts)}")
    print(f"pandas shuffle {peer:.2f} s   {frame['split'].value_counts().to_dict()}")
    print(f"ratio          {ours / peer:.1f}   (bound 30 s, ledger, balance and publication included)")
    return int(ours > 30)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
