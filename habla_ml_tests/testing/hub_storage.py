"""Repositories of the small hub in `hub_server.py`: commits, references and large files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

LFS_ENDINGS: Final = (".safetensors", ".bin", ".zip", ".parquet")


class HubRefusalError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str, code: str | None = None, **content: Any) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.content = content or {"error": message}


@dataclass(frozen=True)
class StubCommit:
    """A commit and all files at it."""

    parent: str | None
    files: Mapping[str, bytes]
    summary: str

    @property
    def oid(self) -> str:
        content = {path: hashlib.sha256(data).hexdigest() for path, data in self.files.items()}
        text = json.dumps([self.parent, content, self.summary], sort_keys=True)
        return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@dataclass
class StubRepository:
    """A repository; a new one has one commit, as on the Hub."""

    private: bool
    commits: dict[str, StubCommit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    converts: dict[str, str] = field(default_factory=dict)
    pulls: dict[str, str] = field(default_factory=dict)
    large_files: dict[str, bytes] = field(default_factory=dict)
    """Every stored object by its sha256, also one that no commit names any more."""
    unlisted: set[str] = field(default_factory=set)
    """Stored objects that the list of large files no longer has, since a squash removed their last commit."""
    new_name: str | None = None
    """After a person renamed it."""

    def __post_init__(self) -> None:
        self.add("main", {".gitattributes": b"*.bin filter=lfs\n"}, "initial commit")

    @property
    def refs(self) -> tuple[dict[str, str], ...]:
        """Every kind of reference, each a name with its commit."""
        return self.branches, self.tags, self.converts, self.pulls

    def add(self, branch: str, files: Mapping[str, bytes], summary: str) -> str:
        """Put a commit on a branch, as a person does in the browser; return it."""
        return self._put(branch, StubCommit(self.branches.get(branch), dict(files), summary))

    def find(self, revision: str) -> str:
        """Return the commit of a branch, tag or commit."""
        found = self.branches.get(revision) or self.tags.get(revision) or revision
        if found not in self.commits:
            raise HubRefusalError(404, "Invalid rev id", "RevisionNotFound")
        return found

    def files(self, revision: str) -> Mapping[str, bytes]:
        """Return the files of a revision."""
        return self.commits[self.find(revision)].files

    def list_history(self, revision: str) -> list[str]:
        """Return a revision's commits, the newest first."""
        found: list[str] = []
        commit: str | None = self.find(revision)
        while commit is not None:
            found.append(commit)
            commit = self.commits[commit].parent
        return found

    def squash(self, branch: str, summary: str) -> None:
        """Replace a branch by one commit. What no reference reaches is lost, and its large files leave the list."""
        self._put(branch, StubCommit(None, self.files(branch), summary))
        reachable = {commit for refs in self.refs for head in refs.values() for commit in self.list_history(head)}
        self.commits = {oid: commit for oid, commit in self.commits.items() if oid in reachable}
        self.unlisted |= self.large_files.keys() - self.list_referenced()

    def list_referenced(self) -> set[str]:
        """Return the sha256 of the large files of all commits."""
        return {
            hashlib.sha256(data).hexdigest()
            for commit in self.commits.values()
            for path, data in commit.files.items()
            if path.endswith(LFS_ENDINGS)
        }

    def delete_large_files(self, chosen: Collection[str]) -> None:
        """Delete stored objects, and rewrite every commit without their files."""
        for oid in chosen:
            self.large_files.pop(oid, None)
        rewritten: dict[str, str] = {}
        for refs in self.refs:
            for name, head in refs.items():
                for commit in reversed(self.list_history(head)):
                    self._rewrite(commit, chosen, rewritten)
                refs[name] = rewritten[head]
        self.commits = {oid: self.commits[oid] for oid in rewritten.values()}

    def _rewrite(self, commit: str, chosen: Collection[str], rewritten: dict[str, str]) -> None:
        before = self.commits[commit]
        kept = {
            path: data
            for path, data in before.files.items()
            if not path.endswith(LFS_ENDINGS) or hashlib.sha256(data).hexdigest() not in chosen
        }
        after = StubCommit(rewritten.get(before.parent or ""), kept, before.summary)
        self.commits[after.oid] = after
        rewritten[commit] = after.oid

    def _put(self, branch: str, commit: StubCommit) -> str:
        self.commits[commit.oid] = commit
        self.branches[branch] = commit.oid
        return commit.oid


def describe_file(path: str, data: bytes) -> dict[str, Any]:
    """Return the hub's entry of a file, with its sha256."""
    git = hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()
    return {"type": "file", "path": path, "size": len(data), "oid": git, "sha256": hashlib.sha256(data).hexdigest()}
