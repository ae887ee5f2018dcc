"""What was pushed to which repository of the Hub: a pointer of the lake for each repository.

A push is recorded before its first byte is sent, so that an erasure also knows uploads that were killed. An erasure marks
the pushes that have the voice, and removes the mark's entries when the repository no longer has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from habla_ml.errors import LakeError, PointerMovedError
from habla_ml.lake import Lake, Pointer, catalogue, compute_digest

_FORMAT: Final = "habla_ml.hub_dataset_pushes/1"
_MAX_ATTEMPTS: Final = 20
_TAG_DIGITS: Final = 12


@dataclass(frozen=True)
class DatasetPush:
    """A snapshot that was sent to the Hub, or began to be."""

    snapshot: str
    """Object id; an erasure replaces it by that of the cleaned snapshot."""
    tag: str
    files: str
    """Object id of the list of large files: path and sha256."""
    started_at: str
    """ISO 8601 in UTC."""
    commit: str | None = None
    """None until the push is complete."""
    is_withdrawn: bool = False
    """Whether it has a voice that an erasure still has to remove from the Hub."""


@dataclass(frozen=True)
class HubErasure:
    """An erasure that the repository completed."""

    finished_at: str
    tags: tuple[str, ...]
    """Deleted tags of this lake."""
    is_repository_deleted: bool = False
    """Whether a person deleted the whole repository."""


@dataclass(frozen=True)
class HubDataset:
    """A dataset repository and the pushes to it, the latest last."""

    repository: str
    endpoint: str | None = None
    """Address of another hub than huggingface.co."""
    pushes: tuple[DatasetPush, ...] = ()
    erasures: tuple[HubErasure, ...] = ()

    @property
    def withdrawn(self) -> tuple[DatasetPush, ...]:
        """The pushes that an erasure still has to remove."""
        return tuple(each for each in self.pushes if each.is_withdrawn)

    @property
    def pointer_name(self) -> str:
        """Name of its pointer; the name of a repository has a slash and capitals."""
        return catalogue.HUB_DATASET.name(compute_digest([self.endpoint or "", self.repository.lower()])[:24])

    def find(self, tag: str) -> DatasetPush | None:
        """Return the push with a tag."""
        return next((each for each in self.pushes if each.tag == tag), None)

    def put(self, push: DatasetPush) -> HubDataset:
        """Return it with this push as the latest, in place of an earlier one with its tag."""
        return replace(self, pushes=(*(each for each in self.pushes if each.tag != push.tag), push))


def make_tag(snapshot_id: str) -> str:
    """Return the tag of a snapshot."""
    return f"snapshot-{snapshot_id[:_TAG_DIGITS]}"


def read_hub_dataset(lake: Lake, repository: str, endpoint: str | None) -> HubDataset:
    """Return the record of a repository; without pushes if there were none."""
    empty = HubDataset(repository, endpoint)
    pointer = lake.read_pointer(empty.pointer_name)
    return empty if pointer is None else _parse(pointer)


def list_hub_datasets(lake: Lake) -> Iterator[HubDataset]:
    """Yield the record of every repository that this lake pushed to."""
    for key in catalogue.HUB_DATASET.keys(lake):
        pointer = lake.read_pointer(catalogue.HUB_DATASET.name(key))
        if pointer is not None:
            yield _parse(pointer)


def update_hub_dataset(lake: Lake, dataset: HubDataset, change: Callable[[HubDataset], HubDataset]) -> HubDataset:
    """Change the record of a repository as it is now, and return it; `change` can be called several times.

    Raises `LakeError` if other processes keep moving the pointer.
    """
    for _ in range(_MAX_ATTEMPTS):
        pointer = lake.read_pointer(dataset.pointer_name)
        before = HubDataset(dataset.repository, dataset.endpoint) if pointer is None else _parse(pointer)
        after = change(before)
        if after == before:
            return before
        try:
            lake.move_pointer(dataset.pointer_name, {"format": _FORMAT, **asdict(after)}, pointer)
        except PointerMovedError:
            continue
        return after
    raise LakeError(
        f"other processes moved the pointer {dataset.pointer_name} {_MAX_ATTEMPTS} times in a row; run again"
    )


def read_object_ids(lake: Lake, push: DatasetPush) -> set[str]:
    """Return the sha256 of the large files of a push, which are their names on the Hub."""
    return {str(each["sha256"]) for each in lake.get_json(push.files)["files"]}


def _parse(pointer: Pointer) -> HubDataset:
    value: Any = dict(pointer.value)
    if value.pop("format", None) != _FORMAT:
        raise LakeError(f"pointer {pointer.name} has not the format {_FORMAT}; restore it from a backup")
    value["pushes"] = tuple(DatasetPush(**each) for each in value["pushes"])
    value["erasures"] = tuple(HubErasure(**{**each, "tags": tuple(each["tags"])}) for each in value["erasures"])
    return HubDataset(**value)
