"""Planned splits: sessions without a text whose split a review queue planned, before it selected segments of them.

A segment that was selected as uncertain is lost if its session becomes validation or test. A session's split must also
not depend on how uncertain its speech is, or the test set would be easier than the classroom. Therefore the queue plans
all recorded sessions before it selects any segment, in random order and by recorded hours, and the plan holds once a
session has text.

A young corpus can have text of train sessions alone, since people may correct what they like in Habla. Then a session
from which no queue selected a segment is released from the plan, and assigned where a split is missing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast

from habla_ml.annotation.review_queue import load_planned_splits
from habla_ml.corpus.snapshot import Split
from habla_ml.lake import Lake
from habla_ml.settings import SplitSettings


def load_planned_groups(lake: Lake) -> dict[str, Split]:
    """Return session → its planned split."""
    return {session: cast(Split, split) for session, split in load_planned_splits(lake).items()}


def bind_planned_sessions(
    planned: Mapping[str, Split],
    sessions: Collection[str],
    selected: Collection[str],
    decided: Mapping[str, Split],
    settings: SplitSettings,
) -> dict[str, Split]:
    """Return the sessions for which the plan holds → their splits.

    Args:
        planned: Session → planned split.
        sessions: The sessions that have text.
        selected: Those of which a queue selected an annotated segment as uncertain.
        decided: Session → split in the ledger; these need no plan.
        settings: A split with a share above 0 must have a session.
    """
    bound = {each: planned[each] for each in sessions if each in planned and each not in decided}
    filled = {decided.get(each, bound.get(each)) for each in sessions}
    shares: dict[Split, float] = {"validation": settings.validation, "test": settings.test}
    if all(split in filled for split, share in shares.items() if share > 0):
        return bound
    return {each: split for each, split in bound.items() if split != "train" or each in selected}
