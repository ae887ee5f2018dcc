"""`splits`: an immutable snapshot of who is train, validation and test."""

import dagster as dg

from habla_ml.corpus.conventions import load_conventions
from habla_ml.defs.owners import DATA_OWNERS
from habla_ml.defs.presentation import table
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings


def build_splits(settings: Settings) -> dg.AssetsDefinition:
    """The asset; one for the whole corpus."""

    @dg.asset(
        deps=["annotated_corpus"],
        group_name="corpus",
        owners=DATA_OWNERS,
        kinds={"parquet"},
        code_version="1",
        description=(
            "The corpus of this moment, cut by session into train, validation and test by hours. A session's split is "
            "decided once, written in a ledger and never moved; no recording is in two splits. The same corpus is the "
            "same snapshot. `habla-ml export-dataset` writes it as a Hugging Face DatasetDict."
        ),
    )
    def splits(lake: StoreResource) -> dg.MaterializeResult:
        from habla_ml.corpus.splits import make_snapshot

        snapshot = make_snapshot(lake.lake(), settings, load_conventions(settings.corpus.conventions))
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
                        }
                        for split, hours in snapshot.hours.items()
                    ),
                    ["split", "segments", "hours", "share"],
                ),
                "days": len(snapshot.corpus),
                "snapshot": snapshot.id,
                "conventions": snapshot.conventions,
                "provenance": dg.MetadataValue.json(
                    {"corpus": dict(snapshot.corpus), "ledger": snapshot.ledger, "segments": snapshot.segments}
                ),
            },
        )

    return splits
