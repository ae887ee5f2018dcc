"""`splits`: an immutable snapshot of who is train, validation and test."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg

from habla_ml.corpus.conventions import load_conventions
from habla_ml.defs.agreement import build_floor_metadata
from habla_ml.defs.owners import DATA_OWNERS
from habla_ml.defs.presentation import table
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.corpus.snapshot import Snapshot
    from habla_ml.lake import Lake

_SENTENCES_SHOWN = 20
_SPEAKERS = ("sessions", "seen", "unseen", "unknown")


def build_splits(settings: Settings) -> dg.AssetsDefinition:
    """The asset; one for the whole corpus."""

    @dg.asset(
        deps=["annotated_corpus"],
        group_name="corpus",
        owners=DATA_OWNERS,
        kinds={"parquet"},
        code_version="1",
        description=(
            "The corpus of this moment, cut by session, or by enrolled student, into train, validation and test by "
            "hours. A split is decided once, written in a ledger and never moved; no recording is in two splits. The "
            "same corpus is the same snapshot. `habla-ml export-dataset` writes it for other tools."
        ),
    )
    def splits(lake: StoreResource) -> dg.MaterializeResult:
        from habla_ml.corpus.splits import load_split_changes, make_snapshot

        opened = lake.lake()
        conventions = load_conventions(settings.corpus.conventions)
        snapshot = make_snapshot(opened, settings, conventions)
        changes = load_split_changes(opened)
        speakers = _count_speakers(opened, snapshot)
        total = sum(snapshot.hours.values())
        return dg.MaterializeResult(
            data_version=dg.DataVersion(snapshot.id),
            metadata={
                "hours": round(total, 4),
                **{f"{split} hours": round(hours, 4) for split, hours in snapshot.hours.items()},
                "splits": table(
                    (
                        {
                            "split": split,
                            "segments": snapshot.counts[split],
                            "hours": round(hours, 4),
                            "share": f"{hours / total:.1%}",
                            **speakers[split],
                            "kept out": snapshot.kept_out.get(split, 0),
                            "left": changes[split].left + changes[split].erased if changes else 0,
                        }
                        for split, hours in snapshot.hours.items()
                    ),
                    ["split", "segments", "hours", "share", *_SPEAKERS, "kept out", "left"],
                ),
                "balance": _describe_balance(opened, snapshot, settings),
                "people in several splits": len(snapshot.in_several_splits),
                **_describe_overlaps(opened, snapshot, settings),
                **build_floor_metadata(opened, conventions),
                "days": len(snapshot.corpus),
                "snapshot": snapshot.id,
                "conventions": snapshot.conventions,
                "provenance": dg.MetadataValue.json(
                    {"corpus": dict(snapshot.corpus), "ledger": snapshot.ledger, "segments": snapshot.segments}
                ),
            },
        )

    return splits


def _count_speakers(lake: "Lake", snapshot: "Snapshot") -> dict[str, dict[str, int | None]]:
    """Split → its sessions and, where it is held out, its segments by whether train has their speaker."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    rows = pq.read_table(lake.fetch_path(snapshot.segments), columns=["split", "session_id", "is_seen_speaker"])
    found: dict[str, dict[str, int | None]] = {}
    for split in snapshot.counts:
        part = rows.filter(pc.equal(rows["split"], split))
        counts: list[int | None] = [None, None, None]
        if split != "train":
            unknown = part["is_seen_speaker"].null_count
            seen = pc.sum(part["is_seen_speaker"]).as_py() or 0
            counts = [seen, part.num_rows - unknown - seen, unknown]
        found[split] = dict(zip(_SPEAKERS, (len(pc.unique(part["session_id"])), *counts), strict=True))
    return found


def _describe_balance(lake: "Lake", snapshot: "Snapshot", settings: Settings) -> str:
    """Whether the hours are within a point of their shares, and what stands in the way."""
    from habla_ml.corpus.split_assignment import SHARE_TOLERANCE, compute_split_shares
    from habla_ml.corpus.splits import compute_largest_session_share

    total = sum(snapshot.hours.values())
    off = [
        f"{split} has {snapshot.hours[split] / total:.1%} of {share:.0%}"
        for split, share in compute_split_shares(settings.splits).items()
        if abs(snapshot.hours[split] / total - share) > SHARE_TOLERANCE
    ]
    if not off:
        return "within a point of the shares"
    return (
        f"{'; '.join(off)}. Groups never move and new ones go where hours are short; the largest session holds "
        f"{compute_largest_session_share(lake, snapshot):.1%} of the hours."
    )


def _describe_overlaps(lake: "Lake", snapshot: "Snapshot", settings: Settings) -> dict[str, Any]:
    from habla_ml.corpus.overlap import find_near_duplicates, find_shared_sentences

    shared = find_shared_sentences(lake, snapshot)
    found: dict[str, Any] = {
        "validation segments whose sentence train has": sum(each.validation for each in shared),
        "test segments whose sentence train has": sum(each.test for each in shared),
        "shared sentences": table(
            (asdict(each) for each in shared[:_SENTENCES_SHOWN]), ["held_out", "train", "validation", "test"]
        ),
    }
    if sum(snapshot.hours.values()) <= settings.splits.fingerprint_up_to_hours:
        alike = find_near_duplicates(lake, snapshot)
        found["held-out segments that sound like one of train"] = len({each.held_out for each in alike})
        found["alike"] = table(
            (asdict(each) for each in alike[:_SENTENCES_SHOWN]), ["held_out", "train", "bit_errors"]
        )
    return found
