"""The lake of `full_lake` with two released versions: v1 and v2 on stable, rolled back to v1, and v2 on beta."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from habla_ml.lake import DirectoryStore
from habla_ml.release.channel import Delivery
from habla_ml.release.manifest import OverrideMetadata, ReleaseDraft
from habla_ml.release.moves import promote, rollback
from habla_ml.release.publish import publish_release
from habla_ml_tests.testing.full_lake import FullLake, make_full_lake
from habla_ml_tests.testing.release_drafts import NOON, make_draft, make_release_files

SIGNER = "Candelaria Ruiz"


def make_released_lake(root: Path) -> tuple[FullLake, DirectoryStore]:
    """Return the lake and the store of its releases."""
    full_lake = make_full_lake(root)
    store = DirectoryStore(root / "cdn")
    for number, version in enumerate(("v1", "v2")):
        draft = make_snapshot_draft(version, full_lake.snapshot.id)
        files = make_release_files(root / "files", version)
        publish_release(store, None, "stable", draft, files, NOON + timedelta(days=number))
    promote(store, "stable", "beta", Delivery())
    rollback(store, "stable")
    return full_lake, store


def make_snapshot_draft(version: str, snapshot: str) -> ReleaseDraft:
    """Return the draft of a version that was trained and tested on a snapshot, against the rule."""
    draft = make_draft(version)
    return draft.model_copy(
        update={
            "training": draft.training.model_copy(update={"snapshot": snapshot}),
            "evaluation": draft.evaluation.model_copy(update={"snapshot": snapshot}),
            "override": OverrideMetadata(signed_by=SIGNER, reason="no time", signed_at=NOON),
        }
    )
