"""A private repository of a hub: its branches, tags and files.

Everything that the hub sends is checked. No message has the token, also where the hub repeats it in an answer.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from habla_ml.errors import PointerMovedError, ReleaseError, ServiceError, SettingsError
from habla_ml.lake import compute_sha256
from habla_ml.settings.hub import HubAccess

FileContent = Path | bytes
"""A file on this machine, or its bytes."""
_TIMEOUT_S: Final = 300.0
"""For each step of a request; the client has none by itself."""
_MISSING: Final = 404
_MOVED: Final = 412
_MOST_MESSAGE_CHARS: Final = 300


@dataclass(frozen=True)
class HubRefs:
    """Commit (40 hex digits) by name."""

    branches: Mapping[str, str]
    tags: Mapping[str, str]
    hidden: Mapping[str, str]
    """Pull requests, and copies that the Hub's viewer made, such as `refs/convert/parquet`: no branch that we can change."""


def open_repository(settings: HubAccess, name: str, kind: Literal["model", "dataset"] = "model") -> HubRepository:
    """Return the repository `name`; nothing is requested yet. Raises `SettingsError` if there is no token."""
    token = os.environ.get(settings.token_variable, "").strip()
    if not token:
        raise SettingsError(
            f"{settings.token_variable} is not set; put a token of the Hub there that can write to {name}, or set "
            f"{settings.key}.repository to null"
        )
    return HubRepository(name, kind, token, settings)


class HubRepository:
    """A repository, through the Hub's own client."""

    def __init__(self, name: str, kind: str, token: str, settings: HubAccess) -> None:
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars, get_session

        disable_progress_bars()
        get_session().timeout = _TIMEOUT_S
        self.name = name
        self._kind = kind
        self._token = token
        self._token_variable = settings.token_variable
        self._key = settings.key
        self._api = HfApi(endpoint=settings.endpoint, token=token)

    def __repr__(self) -> str:
        return f"HubRepository({self.name!r})"

    @property
    def url(self) -> str:
        """Address of the repository's page."""
        prefix = "" if self._kind == "model" else f"{self._kind}s/"
        return f"{self._api.endpoint}/{prefix}{self.name}"

    def require_private(self) -> None:
        """Create the repository if it is missing; raises `ReleaseError` if it is not private."""
        if self.read_name() is None:  # a token for one repository may not create any, also none that exists
            with self._translate_errors("open"):
                self._api.create_repo(self.name, repo_type=self._kind, private=True, exist_ok=True)
        self.check_private("Nothing was uploaded")

    def check_private(self, consequence: str) -> None:
        """Raise `ReleaseError` if the repository is not private now; `consequence` ends the message."""
        with self._translate_errors("open"):
            is_private = self._api.repo_info(self.name, repo_type=self._kind).private is True
        if not is_private:
            content = "models of voices" if self._kind == "model" else "voices"
            raise ReleaseError(
                f"{self.url} is public, and {content} go to a private repository only; make it private in its "
                f"settings on the Hub, or set {self._key}.repository to another one. {consequence}"
            )

    def read_name(self) -> str | None:
        """Return the name by which the hub knows the repository; None if this token finds none."""
        from huggingface_hub.errors import RepositoryNotFoundError

        with self._translate_errors("open"):
            try:
                return str(self._api.repo_info(self.name, repo_type=self._kind).id)
            except RepositoryNotFoundError as error:
                if error.response.status_code != _MISSING:  # the hub refuses the token
                    raise
                return None

    def read_refs(self) -> HubRefs:
        """Return the present branches, tags and other references."""
        with self._translate_errors("read the branches of"):
            refs = self._api.list_repo_refs(self.name, repo_type=self._kind, include_pull_requests=True)
            return HubRefs(
                {each.name: str(each.target_commit) for each in refs.branches},
                {each.name: str(each.target_commit) for each in refs.tags},
                {each.ref: str(each.target_commit) for each in (*refs.converts, *(refs.pull_requests or ()))},
            )

    def read_file(self, commit: str, path: str, scratch: Path) -> bytes | None:
        """Return a small file of a commit, or None; `scratch` is for temporary files."""
        from huggingface_hub.errors import RemoteEntryNotFoundError

        with self._translate_errors(f"read {path} of"):
            try:
                found = self._api.hf_hub_download(
                    self.name, path, repo_type=self._kind, revision=commit, local_dir=scratch, force_download=True
                )
            except RemoteEntryNotFoundError:
                return None
            return Path(found).read_bytes()

    def list_files(self, commit: str) -> set[str]:
        """Return the paths of the files of a commit."""
        with self._translate_errors("list the files of"):
            return set(self._api.list_repo_files(self.name, repo_type=self._kind, revision=commit))

    def find_differences(self, commit: str, files: Mapping[str, FileContent]) -> list[str]:
        """Return the paths of `files` that the commit lacks or has with other bytes."""
        with self._translate_errors("list the files of"):
            listed = self._api.list_repo_tree(self.name, repo_type=self._kind, revision=commit, recursive=True)
            found = {each.path: each for each in listed}
        return [path for path, content in files.items() if not _has_content(found.get(path), content)]

    def commit(
        self, branch: str, files: Mapping[str, FileContent], removed: Collection[str], parent: str | None, message: str
    ) -> str:
        """Add and remove files in one commit, and return it; without a change it is `parent`.

        Raises:
            PointerMovedError: The branch is no longer at `parent`; it did not change.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete
        from huggingface_hub.errors import HfHubHTTPError

        changes: list[Any] = [
            CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
            for path, content in files.items()
        ]
        changes += [CommitOperationDelete(path) for path in sorted(removed)]
        with self._translate_errors("commit to"):
            try:
                made = self._api.create_commit(
                    self.name,
                    changes,
                    commit_message=message,
                    repo_type=self._kind,
                    revision=branch,
                    parent_commit=parent,
                )
                return str(made.oid)
            except HfHubHTTPError as error:
                if error.response.status_code != _MOVED:
                    raise
                raise PointerMovedError(
                    f"branch {branch} of {self.url} moved from {parent} during the upload and did not change; look at "
                    "who else writes to it, then run again"
                ) from None

    def create_branch(self, branch: str) -> None:
        """Create a branch that starts at the main branch; one that exists stays."""
        with self._translate_errors(f"create branch {branch} of"):
            self._api.create_branch(self.name, branch=branch, repo_type=self._kind, exist_ok=True)

    def create_tag(self, tag: str, commit: str) -> None:
        """Tag a commit, and read the tag back; raises `ReleaseError` if it is at another commit."""
        with self._translate_errors(f"create tag {tag} of"):
            self._api.create_tag(self.name, tag=tag, revision=commit, repo_type=self._kind, exist_ok=True)
        found = self.read_refs().tags.get(tag)
        if found != commit:
            raise ReleaseError(
                f"tag {tag} of {self.url} is at {found}, not at {commit}; a tag is not moved: look at both commits, and "
                "delete the wrong tag on the Hub"
            )

    def delete_tag(self, tag: str) -> None:
        """Delete a tag; its commit stays."""
        with self._translate_errors(f"delete tag {tag} of"):
            self._api.delete_tag(self.name, tag=tag, repo_type=self._kind)

    def squash(self, branch: str, message: str) -> None:
        """Replace a branch by one commit with its present files; the commits before are lost."""
        with self._translate_errors(f"squash branch {branch} of"):
            self._api.super_squash_history(self.name, branch=branch, commit_message=message, repo_type=self._kind)

    def count_commits(self, branch: str) -> int:
        """Return how many commits a branch has."""
        with self._translate_errors(f"list the commits of branch {branch} of"):
            return len(self._api.list_repo_commits(self.name, revision=branch, repo_type=self._kind))

    def list_large_files(self, revision: str) -> dict[str, str]:
        """Return path → sha256 of the large files (LFS) of a branch, tag or commit."""
        with self._translate_errors("list the files of"):
            listed = self._api.list_repo_tree(self.name, repo_type=self._kind, revision=revision, recursive=True)
            large = ((each.path, getattr(each, "lfs", None)) for each in listed)
            return {path: str(lfs.sha256) for path, lfs in large if lfs is not None}

    def list_stored_objects(self) -> set[str]:
        """Return the sha256 of every large file (LFS) that the hub stores for the repository, of whatever commit."""
        with self._translate_errors("list the large files of"):
            return {str(each.file_oid) for each in self._api.list_lfs_files(self.name, repo_type=self._kind)}

    def delete_stored_objects(self, chosen: Collection[str]) -> int:
        """Delete large files permanently, with their names in every commit; return how many were stored."""
        with self._translate_errors("delete large files of"):
            listed = self._api.list_lfs_files(self.name, repo_type=self._kind)
            found = [each for each in listed if each.file_oid in chosen]
            self._api.permanently_delete_lfs_files(self.name, found, repo_type=self._kind)
            return len(found)

    def download(self, commit: str, paths: Collection[str], folder: Path) -> None:
        """Write files of a commit to a new folder; raises `ServiceError` if one is missing or damaged."""
        with self._translate_errors("download from"):
            self._api.snapshot_download(
                self.name, repo_type=self._kind, revision=commit, allow_patterns=sorted(paths), local_dir=folder
            )
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # notes of the client
        missing = [path for path in paths if not (folder / path).is_file()]
        if differing := missing or self.find_differences(commit, {path: folder / path for path in paths}):
            raise ServiceError(f"{differing[0]} of {self.url} at {commit} is missing or damaged; run again")

    @contextmanager
    def _translate_errors(self, action: str) -> Iterator[None]:
        """Raise each fault of the hub and of its answers as `ServiceError`.

        The cause is left out, because it can quote the request with its token, and Dagster stores causes.
        """
        from huggingface_hub.errors import HTTPError

        try:
            yield
        except (HTTPError, OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
            reason = self._describe(error)
            raise ServiceError(f"cannot {action} {self.url}: {reason}") from None

    def _describe(self, error: BaseException) -> str:
        from huggingface_hub.errors import HfHubHTTPError

        if isinstance(error, RuntimeError) and error.__cause__ is not None:
            error = error.__cause__  # the client wraps what an upload raised
        if not isinstance(error, HfHubHTTPError):
            reason, remedy = f"{type(error).__name__}: {error}", "check the network and the address, then run again"
            if isinstance(error, ValueError):
                remedy = "the Hub refuses the content, or its answer is invalid"
        else:
            status = error.response.status_code
            reason = f"HTTP {status} {error.server_message or ''}".strip()
            remedy = "run again later"
            if status in {401, 403, 404}:
                remedy = f"check that the token in {self._token_variable} is valid and can write to {self.name}"
        plain = " ".join(reason.replace(self._token, "***").split())[:_MOST_MESSAGE_CHARS]
        return f"{plain}; {remedy}"


def _has_content(found: Any, content: FileContent) -> bool:
    """Return whether an entry of the hub's listing is a file with these bytes."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    if found is None or getattr(found, "size", None) != size:
        return False
    if found.lfs is not None:
        sha256 = hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else compute_sha256(content)
        return bool(found.lfs.sha256 == sha256)
    data = content if isinstance(content, bytes) else content.read_bytes()
    return bool(found.blob_id == _compute_git_id(data))


def _compute_git_id(data: bytes) -> str:
    """Return the id that git gives a file: SHA-1 over a header with the size, and the bytes."""
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()
