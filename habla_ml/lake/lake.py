"""The lake: immutable objects named by their sha256, and small pointers that move.

Layout of a lake in its store:

    objects/ab/abcdef…            the bytes whose sha256 is abcdef…
    pointers/<name>.json          a small JSON object, moved by compare-and-set

A folder is stored as a *tree*: an object with the path, size and sha256 of every file as JSON. The same content always
has the same id, so publishing it again does no work.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, Final

from habla_ml.errors import LakeError
from habla_ml.lake.cache import ObjectCache, make_part_key
from habla_ml.lake.pointers import (
    Pointer,
    PointerCache,
    PointerSnapshot,
    list_pointer_versions,
    make_pointer_key,
    parse_pointer,
    read_snapshot,
)
from habla_ml.lake.ranges import ObjectRanges
from habla_ml.lake.reachability import is_json, reachable_objects
from habla_ml.lake.store import Store

TREE_FORMAT: Final = "habla_ml.tree/1"
_START_BYTES: Final = 64
DEFAULT_CACHE_LIMIT_BYTES: Final = 50_000_000_000


@dataclass(frozen=True)
class TreeFile:
    """One file of a tree: POSIX path below the folder, size and sha256."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class StoredObject:
    """An object in a listing."""

    sha256: str
    size_bytes: int
    modified_at: datetime
    """See `StoreEntry`."""


class Lake:
    """Objects and pointers over a `Store`."""

    def __init__(
        self,
        store: Store,
        cache: Path,
        cache_limit_bytes: int = DEFAULT_CACHE_LIMIT_BYTES,
        pointer_cache: PointerCache | None = None,
    ) -> None:
        """Keep copies of a remote store's objects in the folder `cache`, of at most `cache_limit_bytes` in all.

        Lakes of the same store can share a `pointer_cache`.
        """
        self._store = store
        self._pointer_cache = PointerCache() if pointer_cache is None else pointer_cache
        self._cache = ObjectCache(cache, cache_limit_bytes)

    @property
    def url(self) -> str:
        """The lake's location."""
        return self._store.url

    @property
    def work_folder(self) -> Path:
        """The folder with the cache, a local folder that can hold scratch files too."""
        return self._cache.folder.parent

    @property
    def cache_limit_bytes(self) -> int:
        """Most bytes of the cache."""
        return self._cache.limit_bytes

    # Objects

    def put_bytes(self, data: bytes) -> str:
        """Store `data`; return its sha256 (hex), which is its id."""
        sha256 = hashlib.sha256(data).hexdigest()
        self._store.put_if_absent(make_object_key(sha256), data, sha256)
        return sha256

    def put_file(self, path: Path) -> str:
        """Store a file in bounded memory; return its sha256. Raises `LakeError` if it changes meanwhile."""
        sha256 = _hash_source(path)
        self._store.put_if_absent(make_object_key(sha256), path, sha256)
        return sha256

    def adopt_file(self, path: Path) -> str:
        """Store a file that nobody writes again, without a copy if possible; return its sha256.

        The caller may remove the file afterwards, but must not change it.
        """
        sha256 = _hash_source(path)
        self._store.adopt_if_absent(make_object_key(sha256), path, sha256)
        return sha256

    def put_json(self, value: Any) -> str:
        """Store a JSON value in its canonical form; return the sha256 of that form."""
        return self.put_bytes(to_canonical_json(value))

    def put_tree(self, folder: Path) -> str:
        """Store every file below `folder`; return the tree's id. Raise `LakeError` for no files, a link or a device."""
        files = []
        for path in sorted(folder.rglob("*"), key=lambda each: each.relative_to(folder).as_posix()):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise LakeError(f"{path} is a link or a device; a tree holds plain files only: copy the file there")
            if path.is_file():
                name = path.relative_to(folder).as_posix()
                files.append({"path": name, "size_bytes": path.stat().st_size, "sha256": self.put_file(path)})
        if not files:
            raise LakeError(f"{folder} contains no files to store; run the stage that writes them")
        return self.put_json({"format": TREE_FORMAT, "files": files})

    def get_bytes(self, sha256: str) -> bytes:
        """Return the object's bytes; raises `ObjectMissingError`, or `LakeError` if they are damaged."""
        data = self._store.read(make_object_key(sha256))
        if hashlib.sha256(data).hexdigest() != sha256:
            raise LakeError(f"object {sha256} in {self.url} is damaged: its bytes have another sha256")
        return data

    def get_json(self, sha256: str) -> Any:
        """Return the JSON value stored by `put_json`."""
        try:
            return json.loads(self.get_bytes(sha256))
        except ValueError as error:
            fault = f"object {sha256} in {self.url} is not JSON: {error}"
            raise LakeError(f"{fault}; pass the id of a JSON object") from None

    def read_object_start(self, sha256: str, length: int) -> bytes:
        """Return the object's first `length` bytes, unverified, to find its type."""
        return self._store.read_range(make_object_key(sha256), 0, length)

    def open_ranges(self, sha256: str) -> ObjectRanges:
        """Open an object as a file that reads ranges of it; they are not verified."""
        key = make_object_key(sha256)
        return ObjectRanges(partial(self._store.read_range, key), self._store.read_size_bytes(key))

    def list_objects(self) -> Iterator[StoredObject]:
        """Yield all objects, reachable or not, sorted by id; lists the whole lake."""
        for entry in self._store.list("objects/"):
            yield StoredObject(entry.key.rpartition("/")[2], entry.size_bytes, entry.modified_at)

    def list_object_ids(self) -> Iterator[str]:
        """Yield the ids of all objects, reachable or not, sorted; lists the whole lake."""
        yield from (each.sha256 for each in self.list_objects())

    def find_reachable(
        self,
        present: Collection[str],
        ignored: Collection[str] = (),
        more: Iterable[Mapping[str, Any]] = (),
        leaves: Collection[str] = (),
    ) -> dict[str, str]:
        """Return each object of `present` that a pointer leads to → the name of one such pointer.

        Args:
            present: Ids of all objects of the lake.
            ignored: Names of pointers that do not count.
            more: Values outside the lake that name objects too, such as settings; their name is `settings`.
            leaves: Objects of which the caller knows that they name no other; they are not read.
        """
        followed = (self.read_pointer(name) for name in self.list_pointers("") if name not in ignored)
        named = chain(
            ((each.name, each.value) for each in followed if each is not None), (("settings", each) for each in more)
        )

        def read_json(each: str) -> bytes:
            is_read = each not in leaves and is_json(self.read_object_start(each, _START_BYTES))
            return self.get_bytes(each) if is_read else b""

        return reachable_objects(named, present, read_json)

    def delete_objects(
        self, object_ids: Collection[str], rewritten: Collection[str] = (), leaves: Collection[str] = ()
    ) -> int:
        """Remove objects and their cached copies; return how many existed.

        The pointers in `rewritten` may keep naming removed objects, because the caller has rewritten what they need.
        Objects in `leaves` are known to name no other, as in `find_reachable`.
        Raises `LakeError` if another pointer still leads to one of them. Nothing was removed.
        """
        if not object_ids:
            return 0
        named = self.find_reachable(set(self.list_object_ids()), rewritten, leaves=leaves)
        if held := sorted(each for each in object_ids if each in named):
            raise LakeError(
                f"{len(held)} of {len(object_ids)} objects to delete in {self.url} are still named, {held[0]} by the "
                f"pointer {named[held[0]]}; nothing was deleted, move that pointer first"
            )
        removed = 0
        for each in object_ids:
            removed += self._store.delete(make_object_key(each))
            self.drop_cached(each)
        return removed

    def delete_unused_object(self, sha256: str, unmodified_since: datetime) -> bool:
        """Remove an object that no pointer leads to, unless it was stored again since; return whether it is gone."""
        removed = self._store.delete(make_object_key(sha256), unmodified_since)
        if removed:
            self.drop_cached(sha256)
        return removed

    def drop_cached(self, sha256: str) -> None:
        """Remove the local copy of a remote lake's object, and what `cache_part` derived from it."""
        self._cache.drop(make_object_key(sha256))
        self._cache.drop_parts(sha256)

    def list_cached_ids(self) -> Iterator[str]:
        """Yield the ids of the objects that have a copy or a part in the cache."""
        return self._cache.list_ids()

    def trim_cache(self) -> int:
        """Bring the cache below its limit; return the number of removed bytes."""
        return self._cache.evict()

    def delete_unfinished(self, before: datetime) -> int:
        """Remove what killed writers left before this time; return the number of removed writes."""
        return self._store.delete_unfinished(before)

    def cache_part(self, sha256: str, part: str, make: Callable[[Path], None]) -> Path:
        """Return a local file that `make` wrote from a part of the object, which may be removed at any time.

        It leaves the cache with the object, and counts for the limit. Of several processes, one makes it. `part` names
        the part among those of the object. Raises `OSError` if the cache cannot be written, and the errors of `make`.
        """
        make_object_key(sha256)
        return self._cache.make_part(sha256, part, make)

    def find_part(self, sha256: str, part: str) -> Path | None:
        """Return the file that `cache_part` made before, or None."""
        return self._cache.find(make_part_key(sha256, part))

    def drop_part(self, sha256: str, part: str) -> None:
        """Remove a file of `cache_part`, because it is damaged."""
        self._cache.drop(make_part_key(sha256, part))

    def fetch_path(self, sha256: str) -> Path:
        """Return a read-only local file with the object: the lake's own, or a verified cached copy."""
        key = make_object_key(sha256)
        local = self._store.local_path(key)
        if local is not None:
            return local

        def fetch(target: Path) -> None:
            self._store.fetch(key, target)
            if compute_sha256(target) != sha256:
                raise LakeError(f"object {sha256} from {self.url} is damaged: its bytes have another sha256")

        return self._cache.find(key) or self._cache.add(key, fetch)

    def list_tree_files(self, tree: str) -> list[TreeFile]:
        """Return the files of a tree, sorted by path; raises `LakeError` if a path leaves the folder."""
        value = self.get_json(tree)
        if not isinstance(value, dict) or value.get("format") != TREE_FORMAT:
            raise LakeError(f"object {tree} in {self.url} is not a tree; pass the id that `put_tree` returned")
        files = [TreeFile(**each) for each in value["files"]]
        for each in files:
            path = PurePosixPath(each.path)
            if path.is_absolute() or ".." in path.parts:
                raise LakeError(f"tree {tree} holds the path {each.path!r}, which leaves its folder")
        return files

    def checkout_tree(self, tree: str, folder: Path) -> Path:
        """Copy a tree's files to `folder` with verified sha256, all or none.

        Keeps an existing folder that has every file of the tree in its size. Raises `LakeError` if it differs.
        """
        files = self.list_tree_files(tree)
        temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        try:
            if not folder.exists():
                for each in files:
                    target = temporary / each.path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(self.fetch_path(each.sha256), target)
                    if compute_sha256(target) != each.sha256:
                        raise LakeError(
                            f"object {each.sha256} in {self.url} is damaged: {each.path} has another sha256"
                        )
                try:
                    temporary.rename(folder)
                except OSError:
                    if not folder.exists():  # otherwise another process did it
                        raise
            for each in files:
                path = folder / each.path
                if not path.is_file() or path.stat().st_size != each.size_bytes:
                    raise LakeError(
                        f"{folder} exists but its {each.path} is not the one of tree {tree[:12]}; "
                        "remove that folder and run again"
                    )
        except OSError as error:
            fault = f"cannot copy tree {tree[:12]} to {folder}: {error.strerror}"
            raise LakeError(f"{fault}; free some space there") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return folder

    # Pointers

    def read_pointer(self, name: str) -> Pointer | None:
        """Return the present pointer `name`, or None."""
        found = self._store.read_versioned(make_pointer_key(name))
        return None if found is None else parse_pointer(name, found, self.url)

    def read_pointers(self, prefix: str, names: Collection[str] | None = None) -> PointerSnapshot:
        """Return the present pointers that start with `prefix`, or only those in `names`.

        Costs one listing, and one read for each pointer that moved since this lake (or another one with the same
        pointer cache) last read it. Raises `LakeError` if the store cannot be listed. A pointer that cannot be read
        raises its error when the snapshot is asked for it.
        """
        return read_snapshot(self._store, self._pointer_cache, prefix, names)

    def move_pointer(self, name: str, value: Mapping[str, Any], seen: Pointer | None) -> Pointer:
        """Set `name` to `value` if it is still in the state `seen` (None: absent).

        Writes nothing if `seen` already has `value`. Raises `PointerMovedError` if the state is different.
        """
        if seen is not None and dict(seen.value) == dict(value):
            return seen
        expected = None if seen is None else seen.tag
        tag = self._store.compare_and_set(make_pointer_key(name), to_canonical_json(value), expected)
        return Pointer(name, value, tag)

    def delete_pointer(self, name: str) -> bool:
        """Remove a pointer but not its objects; return True if it existed."""
        return self._store.delete(make_pointer_key(name))

    def list_pointers(self, prefix: str) -> Iterator[str]:
        """Yield the names of all pointers that start with `prefix`, sorted."""
        yield from (name for name, _ in list_pointer_versions(self._store, prefix))


def to_canonical_json(value: Any) -> bytes:
    """Return the only byte form of a value: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def compute_digest(value: Any) -> str:
    """Return the sha256 (hex) of a JSON value's canonical form."""
    return hashlib.sha256(to_canonical_json(value)).hexdigest()


def compute_sha256(path: Path) -> str:
    """Return the sha256 (hex) of a file, in bounded memory."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _hash_source(path: Path) -> str:
    try:
        return compute_sha256(path)
    except OSError as error:
        raise LakeError(f"cannot read {path}: {error.strerror}; nothing was published, check the file") from error


def make_object_key(sha256: str) -> str:
    """Return the key of an object in a store; raise `LakeError` if `sha256` is no id."""
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise LakeError(f"object id {sha256!r} is not a sha256 in hex")
    return f"objects/{sha256[:2]}/{sha256}"
