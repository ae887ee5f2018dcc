"""The name of every pointer in the lake. Only this module builds and parses them.

A family is a group of pointers that share a pattern, such as the reports of all model versions. A name without a
variable part is a constant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from habla_ml.lake.lake import Lake
    from habla_ml.lake.pointers import PointerSnapshot


@dataclass(frozen=True)
class PointerFamily:
    """Pointers that share a pattern with one or more variable parts, each written `{}`."""

    pattern: str

    @property
    def prefix(self) -> str:
        """The part of every name before the first variable part."""
        return self.pattern.partition("{")[0]

    def name(self, *parts: str) -> str:
        """Return the pointer name for these variable parts."""
        return self.pattern.format(*parts)

    def parts(self, name: str) -> tuple[str, ...] | None:
        """Return the variable parts of a pointer name, or None if it belongs to another family."""
        found = re.fullmatch(re.escape(self.pattern).replace(r"\{\}", "([^/]+)"), name)
        return found.groups() if found else None

    def read(self, lake: Lake, keys: Iterable[str] | None = None) -> PointerSnapshot:
        """Return the pointers of this family, which has one variable part, or only those with these `keys`.

        Costs and errors are those of `Lake.read_pointers`.
        """
        if keys is None and not self.pattern.endswith("{}"):
            keys = self.keys(lake)
        return lake.read_pointers(self.prefix, None if keys is None else frozenset(map(self.name, keys)))

    def keys(self, lake: Lake) -> Iterator[str]:
        """Yield the first variable part of every pointer of this family in the lake, sorted by name."""
        for name in lake.list_pointers(self.prefix):
            if found := self.parts(name):
                yield found[0]


RECORDINGS: Final = PointerFamily("recordings/{}")
"""By day: audio, segment metadata, input signatures, skipped inputs, segments that wait for consent."""
ANNOTATIONS: Final = PointerFamily("annotations/{}")
"""By day: annotation events."""
TABLES: Final = PointerFamily("tables/{}")
"""By digest of the table's path: what an imported table contributed."""
CORPUS: Final = PointerFamily("corpus/{}")
"""By day: current text, and the events and conventions it was built from."""
FINGERPRINTS: Final = PointerFamily("fingerprints/{}")
"""By day: fingerprints of the sounds that were compared between splits."""
LABEL_STUDIO_PUSHED: Final = PointerFamily("label_studio/{}/pushed")
LABEL_STUDIO_PULLED: Final = PointerFamily("label_studio/{}/pulled")
"""By project key: tasks that were pushed, and the state of the last pull."""

PLAN: Final = PointerFamily("models/{}/plan")
CHECKPOINT: Final = PointerFamily("models/{}/checkpoint")
REPORT: Final = PointerFamily("models/{}/report")
OVERRIDE: Final = PointerFamily("models/{}/override")
SEALED_RESULT: Final = PointerFamily("models/{}/sealed")
"""By model version: its only result on the sealed sessions."""
EXPORT: Final = PointerFamily("models/{}/{}")
"""By model version and exporter."""
BASE_EXPORT: Final = PointerFamily("bases/{}/{}")
"""By digest of the base model and exporter."""
COMPARED_EXPORT: Final = PointerFamily("contest/{}/{}/{}")
"""By checkpoint, quantisation and exporter: conversions that only a model comparison uses."""
BUNDLE: Final = PointerFamily("bundles/{}")
"""By model version: the bundles that were made to train it elsewhere."""
FIRST_STAGE: Final = PointerFamily("first_stages/{}/checkpoint")
"""By training identity: a base model after training on general speech. Model versions share it."""
UNFINISHED_TRAINING: Final = PointerFamily("trainings/{}")
"""By training identity: who trains, until when, and the last checkpoint; deleted when the result is published."""
HUB_START: Final = PointerFamily("hub_starts/{}/checkpoint")
"""By digest of repository and commit: a model of a hub that trainings continue from."""

HYPOTHESES: Final = PointerFamily("hypotheses/{}/{}")
"""By artefact and decoding options: cached hypotheses."""
SPEED: Final = PointerFamily("speed/{}")
"""By digest of models, options, clips and machine: how fast models decode."""
COMPARISON: Final = PointerFamily("contests/{}")
"""By the first digits of its object id: a model comparison that decides no release."""
TEST_SET_LOOKS: Final = PointerFamily("test_sets/{}")
"""By digest of a test set: the versions that were scored on it."""
SPENDING: Final = PointerFamily("spending/{}/{}")
"""By hosted service and month: cost that was reserved."""
QUALITY: Final = PointerFamily("monitoring/{}/quality")
"""By model version: quality of a released version, week by week."""
ALERT: Final = PointerFamily("alerts/{}/{}")
"""By channel and digest of the alert: alerts that were sent."""
HUB_DATASET: Final = PointerFamily("hub_datasets/{}")
"""By digest of address and name of a repository: the snapshots that were pushed to it, and their erasure."""

REVIEW_QUEUE: Final = "review/latest"
SPLITS: Final = "splits/latest"
SPLIT_LEDGER: Final = "splits/ledger"
DROPPED_COPIES: Final = "splits/dropped_copies"
"""Near-duplicates across train and held-out splits, and the days that were compared."""
LAST_GOOD_CORPUS: Final = "quality/good"
CORPUS_HOURS: Final = "quality/hours"
TOMBSTONES: Final = "consent/tombstones"
ERASURE_INDEX: Final = "erasure/index"
"""What is in which object, for erasures; derived, and safe to delete."""
CLEANUP_MARKS: Final = "cleanup/marks"
"""When each superseded object was first found."""
UNFINISHED_RESTORE: Final = "restore/unfinished"
"""The backup that is being restored into this lake; deleted at the end."""
RESTORED: Final = "restore/inbox"
"""The backup that this lake was restored from; deleted once what the service received was compared with the lake."""


def get_area(name: str) -> str:
    """Return the first part of a pointer name, such as `recordings`."""
    return name.partition("/")[0]
