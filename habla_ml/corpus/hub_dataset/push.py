"""Push a snapshot to a private dataset repository of the Hub: one commit with its parent, and then a tag.

Its record in the lake is first, so that an erasure knows what to look for; the tag is last, and marks a complete push. A
repeated push changes nothing, and one after a kill finishes the work: files that the Hub has are not sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from habla_ml.consent.admission import Consents
from habla_ml.corpus.consent_check import check_consents, check_not_erased
from habla_ml.corpus.hub_dataset.layout import DATA_FOLDER, DatasetFiles, write_dataset_files
from habla_ml.corpus.hub_dataset.pushes import (
    DatasetPush,
    HubDataset,
    make_tag,
    read_hub_dataset,
    update_hub_dataset,
)
from habla_ml.corpus.snapshot import OPEN_SPLITS, Snapshot
from habla_ml.errors import CorpusError, ReleaseError
from habla_ml.hub.repository import FileContent, HubRefs, HubRepository, open_repository
from habla_ml.lake import Lake
from habla_ml.process import hold_lock
from habla_ml.scratch import make_scratch_folder
from habla_ml.settings import Settings

MAIN: Final = "main"
_LOCK_FILE: Final = "hub_dataset.lock"


@dataclass(frozen=True)
class PushedSnapshot:
    """A snapshot on the Hub."""

    tag: str
    commit: str
    is_new: bool
    """Whether this call made the tag."""


def lock_hub_datasets(work_folder: Path) -> AbstractContextManager[None]:
    """Hold the lock of pushes and of their erasure on this machine; raises `CorpusError` if another process holds it."""
    return hold_lock(
        work_folder / _LOCK_FILE,
        lambda holder: CorpusError(
            f"another process pushes a dataset to the Hub or erases from it ({holder}); wait until it ends, then run again"
        ),
    )


def open_dataset_repository(settings: Settings) -> HubRepository:
    """Return the repository of the settings; nothing is requested yet.

    Raises `CorpusError` if none is set, and `SettingsError` if there is no token.
    """
    chosen = settings.corpus.hub_dataset
    if chosen.repository is None:
        raise CorpusError(
            "corpus.hub_dataset.repository is not set, so no dataset goes to the Hub; set it to a private repository, "
            "such as our-school/classroom-speech (docs/hub_dataset.md)"
        )
    return open_repository(chosen, chosen.repository, "dataset")


def push_snapshot(
    lake: Lake,
    snapshot: Snapshot,
    settings: Settings,
    consents: Consents,
    progress: Callable[[str], None] = lambda _: None,
) -> PushedSnapshot:
    """Push the open splits of a snapshot to `corpus.hub_dataset.repository`; `progress` receives one line per step.

    Raises:
        CorpusError: No repository is set, a voice has no consent or is being erased, or another push runs.
        SettingsError: There is no token.
        ReleaseError: The repository is public, has snapshots that the lake does not know, or has the tag elsewhere.
        PointerMovedError: The branch moved during the upload.
        ServiceError: The Hub cannot be reached, or refuses a request.
    """
    repository = open_dataset_repository(settings)
    with lock_hub_datasets(settings.work_folder):
        check_consents(lake, snapshot, consents)
        check_not_erased(lake, snapshot)
        if not any(snapshot.counts[split] for split in OPEN_SPLITS):
            raise CorpusError(f"snapshot {snapshot.id[:12]} has no segments to push; correct some lessons first")
        recorded = read_hub_dataset(lake, repository.name, settings.corpus.hub_dataset.endpoint)
        if recorded.withdrawn:
            raise CorpusError(
                f"{repository.url} still has a voice that must be erased; run `{settings.command('erase', '--finish')}` "
                "first. Nothing was uploaded"
            )
        repository.require_private()
        refs, tag = repository.read_refs(), make_tag(snapshot.id)
        _check_refs(repository, refs, recorded)
        known = recorded.find(tag)
        if known is not None and known.commit is not None and refs.tags.get(tag) == known.commit:
            return PushedSnapshot(tag, known.commit, is_new=False)
        with make_scratch_folder(settings.work_folder, "hub_dataset") as scratch:
            licence = settings.corpus.hub_dataset.licence
            files = write_dataset_files(lake, snapshot, tag, licence, scratch)
            _record_start(lake, recorded, snapshot, files)
            with _report_lost_record(lake, recorded, tag, settings.command("erase", "--finish")):
                check_not_erased(lake, snapshot)  # an erasure that began since has seen the record, or is seen here
                commit = _upload(repository, refs, tag, files, progress)
                _record_end(lake, recorded, tag, commit)
        return PushedSnapshot(tag, commit, is_new=True)


def _check_refs(repository: HubRepository, refs: HubRefs, recorded: HubDataset) -> None:
    """Raise `ReleaseError` if the repository has references from which this lake could not erase a voice."""
    known = {each.tag for each in recorded.pushes}
    if unknown := sorted(refs.tags.keys() - known):
        raise ReleaseError(
            f"{repository.url} has the tag {unknown[0]}, which this lake did not push, so an erasure could not reach its "
            "voices; delete that tag on the Hub, or set corpus.hub_dataset.repository to a new repository"
        )
    if refs.hidden:
        raise ReleaseError(
            f"{repository.url} has {min(refs.hidden)}, and no program can remove a voice from pull requests and the "
            "viewer's copies; set corpus.hub_dataset.repository to a new repository, and keep its community tab off"
        )


def _upload(
    repository: HubRepository, refs: HubRefs, tag: str, files: DatasetFiles, progress: Callable[[str], None]
) -> str:
    head = refs.branches.get(MAIN)
    content: dict[str, FileContent] = {**files.data, **files.own}
    present = set() if head is None else repository.list_files(head)
    stale = {each for each in present if each.startswith(f"{DATA_FOLDER}/")} - content.keys()
    size_mb = sum(each.size_bytes for each in files.record.files) / 1e6
    progress(f"{len(content)} files, {size_mb:.1f} MB, to {repository.url}")
    repository.check_private("Nothing was uploaded")
    commit = repository.commit(MAIN, content, stale, head, f"Corpus {tag}")
    repository.check_private("The dataset is there: make the repository private or delete it at once, then push again")
    if differing := repository.find_differences(commit, content):
        raise ReleaseError(
            f"commit {commit} of {repository.url} lacks {', '.join(differing[:3])}, or has other bytes there; remove a "
            "line of its .gitignore that matches, then push again"
        )
    if plain := sorted(files.data.keys() - repository.list_large_files(commit).keys()):
        raise ReleaseError(
            f"{repository.url} keeps {plain[0]} in git instead of its large files; restore the line of *.parquet in its "
            ".gitattributes, then push again"
        )
    repository.create_tag(tag, commit)
    return commit


def _record_start(lake: Lake, recorded: HubDataset, snapshot: Snapshot, files: DatasetFiles) -> None:
    listed = [{"path": each.path, "sha256": each.sha256} for each in files.record.files]
    stored = lake.put_json({"format": "habla_ml.hub_dataset_files/1", "files": listed})
    now = datetime.now(UTC).isoformat(timespec="seconds")
    push = DatasetPush(snapshot.id, make_tag(snapshot.id), stored, now)
    # As the latest one, because its commit has all earlier ones in its history.
    update_hub_dataset(lake, recorded, lambda each: each.put(push))


def _record_end(lake: Lake, recorded: HubDataset, tag: str, commit: str) -> None:
    def complete(dataset: HubDataset) -> HubDataset:
        pushes = (replace(each, commit=commit) if each.tag == tag else each for each in dataset.pushes)
        return replace(dataset, pushes=tuple(pushes))

    update_hub_dataset(lake, recorded, complete)


@contextmanager
def _report_lost_record(lake: Lake, recorded: HubDataset, tag: str, finish: str) -> Iterator[None]:
    """Leave an erasure to do if one marked the push, or finished on another machine, while the block sent its files."""
    begun = read_hub_dataset(lake, recorded.repository, recorded.endpoint).find(tag)
    try:
        yield
    finally:
        after = update_hub_dataset(
            lake,
            recorded,
            lambda each: each if begun is None or each.find(tag) else each.put(replace(begun, is_withdrawn=True)),
        ).find(tag)
        if after is not None and after.is_withdrawn:
            raise CorpusError(
                f"a voice of {tag} was withdrawn during the push, and the Hub can have it; run `{finish}` now"
            )
