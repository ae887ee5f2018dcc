"""`splits`: an immutable snapshot with the train, validation, test and sealed segments."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg

from habla_ml.corpus.conventions import load_conventions
from habla_ml.defs.code_versions import get_code_version
from habla_ml.defs.corpus.agreement import build_floor_metadata
from habla_ml.defs.partitions import DATA_OWNERS
from habla_ml.defs.presentation import table
from habla_ml.defs.resources import StoreResource
from habla_ml.defs.result_metadata import build_result_metadata
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.corpus.snapshot import Snapshot
    from habla_ml.lake import Lake

_ROWS_SHOWN = 20


def build_splits(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset; one snapshot covers the whole corpus."""

    @dg.asset(
        deps=["annotated_corpus"],
        group_name="corpus",
        owners=DATA_OWNERS,
        kinds={"parquet"},
        code_version=get_code_version("splits"),
        description=(
            "The current corpus, divided by session or enrolled student into train, validation and test by hours. A "
            "part of the test sessions is sealed for the release. A group is assigned once, recorded in a ledger and "
            "never moves; no recording is in two splits. The same "
            f"corpus gives the same snapshot. `{settings.command('export-dataset')}` writes it for other tools."
        ),
    )
    def splits(lake: StoreResource) -> dg.MaterializeResult:
        from habla_ml.corpus.splits import describe_balance, make_snapshot

        opened = lake.lake()
        conventions = load_conventions(settings.corpus.conventions)
        snapshot = make_snapshot(opened, settings, conventions)
        hours = {f"{split} hours": hours for split, hours in snapshot.hours.items()}
        provenance = {"ledger": snapshot.ledger, "segments": snapshot.segments, "corpus": dict(snapshot.corpus)}
        return dg.MaterializeResult(
            data_version=dg.DataVersion(snapshot.id),
            metadata=build_result_metadata(
                f"snapshot {snapshot.id[:16]} of {len(snapshot.corpus)} days, which trainings and reports use",
                {"hours": sum(snapshot.hours.values()), **hours, "segments": sum(snapshot.counts.values())},
                "nothing: the job `train_and_release` goes on with it; a failed check blocks the training and says why",
                details={
                    "hours": sum(snapshot.hours.values()),
                    **hours,
                    "splits": _tabulate_splits(opened, snapshot),
                    "balance": describe_balance(opened, snapshot, settings.splits),
                    "people in several splits": len(snapshot.in_several_splits),
                    **_describe_overlaps(opened, snapshot),
                    **build_floor_metadata(opened, conventions),
                    "days": len(snapshot.corpus),
                    "snapshot": snapshot.id,
                    "conventions": snapshot.conventions,
                    "provenance": provenance,
                },
            ),
        )

    return splits


def build_splits_check() -> dg.AssetChecksDefinition:
    """Return the check that every split has segments and no session is in two splits."""

    @dg.asset_check(
        asset="splits",
        blocking=True,
        description="There is a test set, and no session is in two splits. If a split is empty, correct more sessions.",
    )
    def splits_are_disjoint_and_whole(lake: StoreResource) -> dg.AssetCheckResult:
        from habla_ml.corpus.snapshot import OPEN_SPLITS, find_sessions_in_two_splits, load_latest_snapshot
        from habla_ml.corpus.splits import load_split_changes

        opened = lake.lake()
        snapshot = load_latest_snapshot(opened)
        in_two_splits = find_sessions_in_two_splits(opened, snapshot)
        is_whole = all(snapshot.counts[split] for split in OPEN_SPLITS)
        return dg.AssetCheckResult(
            passed=not in_two_splits and is_whole,
            metadata={
                "sessions in two splits": len(in_two_splits),
                **{str(split): count for split, count in snapshot.counts.items()},
                **{f"{split} near-duplicates dropped": n for split, n in (snapshot.near_duplicates or {}).items()},
                **{f"{split} left": each.removed + each.erased for split, each in load_split_changes(opened).items()},
            },
            description=(
                f"{snapshot.counts['test']} test segments; {len(in_two_splits)} sessions are in two splits"
                if is_whole
                else "a split is empty: correct more sessions"
            ),
        )

    return splits_are_disjoint_and_whole


def _tabulate_splits(lake: "Lake", snapshot: "Snapshot") -> dg.MarkdownMetadataValue:
    from habla_ml.corpus.snapshot import count_blind_references
    from habla_ml.corpus.splits import SPEAKER_COUNTS, count_speakers, load_split_changes

    blind = count_blind_references(lake, snapshot)
    changes, speakers = load_split_changes(lake), count_speakers(lake, snapshot)
    total = sum(snapshot.hours.values()) or 1.0  # all segments can be left out
    rows = (
        {
            "split": split,
            "segments": snapshot.counts[split],
            "hours": hours,
            "share": f"{100 * hours / total:.1f}\u00a0%",
            **speakers[split],
            "blind": blind[split],
            "kept out": snapshot.kept_out.get(split, 0),
            "left": changes[split].removed + changes[split].erased if split in changes else 0,
        }
        for split, hours in snapshot.hours.items()
    )
    return table(rows, ["split", "segments", "hours", "share", *SPEAKER_COUNTS, "blind", "kept out", "left"])


def _describe_overlaps(lake: "Lake", snapshot: "Snapshot") -> dict[str, Any]:
    from habla_ml.corpus.near_duplicates import read_dropped_copies
    from habla_ml.corpus.overlap import count_seen_sentences, find_shared_sentences

    shared = find_shared_sentences(lake, snapshot, _ROWS_SHOWN)
    seen, dropped = count_seen_sentences(lake, snapshot), read_dropped_copies(lake, _ROWS_SHOWN)
    columns: list[Any] = ["held_out", "train", "validation", "test", "sealed"]
    return {
        **{f"{split} sentences in train": seen.get(split, 0) for split in columns[2:]},
        "shared sentences": table(map(asdict, shared), columns),
        "dropped near-duplicates": sum((snapshot.near_duplicates or {}).values()),
        "near-duplicates": table(map(asdict, dropped), ["audio_sha256", "side", "duplicate_of", "bit_errors"]),
    }
