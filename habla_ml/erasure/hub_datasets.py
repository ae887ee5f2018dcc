"""Remove a withdrawn voice from the dataset repositories of the Hub, with its history.

The lake's record marks the pushes that have the voice before the lake loses the segments, and keeps the mark until the
repository was read again and has nothing of these pushes. A kill or an outage at any step leaves the mark, and each
step can be repeated.

Large files are deleted before the squash, because the Hub then no longer lists them although it still stores them
(huggingface/hub-docs issue 1566).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import takewhile
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.consent.tombstones import Tombstones, read_tombstones
from habla_ml.corpus.hub_dataset.card import CARD_FILE, build_erased_card
from habla_ml.corpus.hub_dataset.layout import DATA_FOLDER, RECORD_FILE
from habla_ml.corpus.hub_dataset.push import MAIN, lock_hub_datasets
from habla_ml.corpus.hub_dataset.pushes import (
    DatasetPush,
    HubDataset,
    HubErasure,
    list_hub_datasets,
    read_object_ids,
    update_hub_dataset,
)
from habla_ml.corpus.snapshot import load_snapshot
from habla_ml.errors import HablaError, ObjectMissingError, ServiceError, SettingsError
from habla_ml.hub.repository import HubRepository, open_repository
from habla_ml.lake import Lake
from habla_ml.lake.shards import iterate_batches
from habla_ml.settings import Settings

_MESSAGE: Final = "Remove a voice whose consent was withdrawn"


@dataclass(frozen=True)
class HubErasureResult:
    """What an erasure did on the Hub."""

    cleaned: tuple[str, ...] = ()
    """Repositories that have nothing of the voice any more."""
    pending: tuple[str, ...] = ()
    """Repositories that still have it or may have it, one sentence each with the reason and the next step."""


def find_hub_datasets(lake: Lake, segments: Collection[str], sounds: Collection[str]) -> tuple[str, ...]:
    """Return the repositories that got a snapshot with any of these segments."""
    found = (
        each.repository
        for each in list_hub_datasets(lake)
        if any(_has_voice(lake, push, segments, sounds) for push in each.pushes)
    )
    return tuple(sorted(found))


def mark_withdrawn_pushes(lake: Lake, erased: Tombstones) -> None:
    """Mark the pushes with an erased segment; raises `LakeError` if a record keeps moving."""
    for dataset in list_hub_datasets(lake):

        def mark(each: HubDataset) -> HubDataset:
            return replace(each, pushes=tuple(_mark(lake, push, erased) for push in each.pushes))

        update_hub_dataset(lake, dataset, mark)


def list_pending_datasets(lake: Lake) -> tuple[HubDataset, ...]:
    """Return the repositories from which a voice must still be erased, as far as it is marked; reads pointers only."""
    return tuple(each for each in list_hub_datasets(lake) if each.withdrawn)


def has_erased_voice(lake: Lake, dataset: HubDataset) -> bool:
    """Return whether a push has a tombstone's voice or is marked; reads the ids of each pushed snapshot."""
    erased = read_tombstones(lake)
    return any(_mark(lake, each, erased).is_withdrawn for each in dataset.pushes)


def erase_from_hub(
    lake: Lake, settings: Settings, progress: Callable[[str], None] = lambda _: None
) -> HubErasureResult:
    """Mark the pushes with an erased voice, and remove them; a repository that fails does not stop the others."""
    mark_withdrawn_pushes(lake, read_tombstones(lake))  # ingest writes tombstones too
    cleaned, pending = [], []
    for dataset in list_pending_datasets(lake):
        try:
            with lock_hub_datasets(settings.work_folder):
                tags = _erase_dataset(lake, dataset, _open(dataset, settings), settings)
                _finish(lake, dataset, HubErasure(_format_now(), tags))
        except HablaError as error:
            pending.append(f"{dataset.repository} on the Hub can still have the voice: {error}")
        else:
            progress(f"{dataset.repository} on the Hub has nothing of the voice any more; {len(tags)} tags deleted")
            cleaned.append(dataset.repository)
    return HubErasureResult(tuple(cleaned), tuple(pending))


def confirm_deleted_repository(lake: Lake, settings: Settings, repository: str) -> None:
    """Finish the erasures of a repository that a person deleted on the Hub.

    Raises:
        SettingsError: The lake pushed to no such repository.
        ServiceError: The repository is still there, or the Hub cannot be reached.
    """
    found = [each for each in list_hub_datasets(lake) if each.repository.lower() == repository.lower()]
    if not found:
        known = ", ".join(each.repository for each in list_hub_datasets(lake)) or "none"
        raise SettingsError(f"this lake pushed no dataset to {repository}; choose one of: {known}")
    for dataset in found:
        opened = _open(dataset, settings)
        if (name := opened.read_name()) is not None:
            raise ServiceError(f"{opened.url} is still there, as {name}; delete it in its settings on the Hub first")
        _forget_pushes(lake, dataset)


def _forget_pushes(lake: Lake, dataset: HubDataset) -> None:
    tags = tuple(each.tag for each in dataset.pushes)
    done = HubErasure(_format_now(), tags, is_repository_deleted=True)
    update_hub_dataset(lake, dataset, lambda each: replace(each, pushes=(), erasures=(*each.erasures, done)))


def _mark(lake: Lake, push: DatasetPush, erased: Tombstones) -> DatasetPush:
    if push.is_withdrawn or not _has_voice(lake, push, erased.segments, erased.sounds):
        return push
    return replace(push, is_withdrawn=True)


def _has_voice(lake: Lake, push: DatasetPush, segments: Collection[str], sounds: Collection[str]) -> bool:
    try:
        table = load_snapshot(lake, push.snapshot).segments
        lake.fetch_path(table)
    except ObjectMissingError:
        return True  # the snapshot is lost, so the voice can be in it
    wanted = [
        ("segment_id", pa.array(sorted(segments), pa.string())),
        ("audio_sha256", pa.array(sorted(sounds), pa.string())),
    ]
    return any(
        pc.any(pc.is_in(batch[name], value_set=values)).as_py()
        for batch in iterate_batches(lake, table, ["segment_id", "audio_sha256"])
        for name, values in wanted
    )


def _open(dataset: HubDataset, settings: Settings) -> HubRepository:
    """Return the repository; a token goes only to the address in the settings, not to one that the lake names."""
    access = settings.corpus.hub_dataset
    if access.endpoint != dataset.endpoint:
        raise SettingsError(
            f"the dataset is at {dataset.endpoint or 'huggingface.co'}, but corpus.hub_dataset.endpoint is "
            f"{access.endpoint or 'not set'}; set it to that address and run again"
        )
    return open_repository(access, dataset.repository, "dataset")


def _erase_dataset(lake: Lake, dataset: HubDataset, repository: HubRepository, settings: Settings) -> tuple[str, ...]:
    """Remove everything of the marked pushes, and return the tags of this lake that are deleted.

    The history of a later push has the commits of the earlier ones. So the tags before the first marked push stay, and
    all others go, with those of other people: they can hold the same commits.
    """
    confirm = settings.command("erase", "--deleted-on-hub", dataset.repository)
    _check_is_there(repository, confirm)
    kept_pushes = tuple(takewhile(lambda each: not each.is_withdrawn, dataset.pushes))
    withdrawn = {sha256 for each in dataset.pushes[len(kept_pushes) :] for sha256 in read_object_ids(lake, each)}
    doomed = withdrawn - {sha256 for each in kept_pushes for sha256 in read_object_ids(lake, each)}
    kept_tags = {each.tag for each in kept_pushes}
    for tag in sorted(repository.read_refs().tags.keys() - kept_tags):
        repository.delete_tag(tag)
    for branch in sorted(repository.read_refs().branches):
        _remove_files(repository, branch, doomed)
    repository.delete_stored_objects(doomed)
    for branch in sorted(repository.read_refs().branches):
        repository.squash(branch, _MESSAGE)
    repository.delete_stored_objects(repository.list_stored_objects() - _find_reachable(repository))
    if hidden := repository.read_refs().hidden:
        raise ServiceError(
            f"{repository.url} has {min(hidden)}, which can hold the voice and which no program can clean; delete the "
            f"repository on the Hub, then run `{confirm}`"
        )
    _check_is_clean(repository, doomed, kept_tags)
    return tuple(each.tag for each in dataset.pushes[len(kept_pushes) :])


def _check_is_there(repository: HubRepository, confirm: str) -> None:
    name = repository.read_name()
    if name is None:
        raise ServiceError(
            f"this token finds no {repository.url}; give it access, or if you deleted that repository on the Hub, run "
            f"`{confirm}`"
        )
    if name.lower() != repository.name.lower():
        raise ServiceError(f"{repository.url} is called {name} now; give it its old name back, then run again")


def _remove_files(repository: HubRepository, branch: str, doomed: Collection[str]) -> None:
    """Remove the doomed files from the end of a branch; main also loses the card and the record of its dataset."""
    head = repository.read_refs().branches[branch]
    removed = {path for path, sha256 in repository.list_large_files(head).items() if sha256 in doomed}
    if branch != MAIN:
        if removed:
            repository.commit(branch, {}, removed, head, _MESSAGE)
        return
    present = repository.list_files(head)
    removed |= {each for each in present if each == RECORD_FILE or each.startswith(f"{DATA_FOLDER}/")}
    repository.commit(branch, {CARD_FILE: build_erased_card().encode()}, removed, head, _MESSAGE)


def _find_reachable(repository: HubRepository) -> set[str]:
    """Return the sha256 of the large files that a branch or a tag has."""
    refs = repository.read_refs()
    commits = {*refs.branches.values(), *refs.tags.values()}
    return {sha256 for each in commits for sha256 in repository.list_large_files(each).values()}


def _check_is_clean(repository: HubRepository, doomed: Collection[str], kept_tags: Collection[str]) -> None:
    """Read everything again; raises `ServiceError` if anything of the marked pushes can be left."""
    refs = repository.read_refs()
    left = [f"tag {each}" for each in sorted(refs.tags.keys() - set(kept_tags))]
    left += [f"the history of branch {each}" for each in refs.branches if repository.count_commits(each) != 1]
    left += [f"the large file {each[:12]}" for each in sorted(repository.list_stored_objects() & set(doomed))]
    left += [f"the file {each[:12]}" for each in sorted(_find_reachable(repository) & set(doomed))]
    if left:
        raise ServiceError(f"{repository.url} still has {left[0]}; run again")


def _finish(lake: Lake, dataset: HubDataset, done: HubErasure) -> None:
    """Remove the erased pushes from the record; one that was marked meanwhile stays."""
    update_hub_dataset(
        lake,
        dataset,
        lambda each: replace(
            each,
            pushes=tuple(push for push in each.pushes if push.tag not in done.tags or push not in dataset.pushes),
            erasures=(*each.erasures, done),
        ),
    )


def _format_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
