"""Find what is missing, damaged or left over in a lake, and explain each finding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from habla_ml.errors import LakeError, ObjectMissingError
from habla_ml.integrity.copy_object import DamagedObjectError, open_verified
from habla_ml.integrity.object_index import IndexedObject, ObjectIndex
from habla_ml.integrity.pointer_kinds import find_pointer_kind
from habla_ml.integrity.walk import LakeWalk, ObjectFault
from habla_ml.lake import Lake, Store, catalogue
from habla_ml.lake.lake import make_object_key

_OBJECTS: Final = "objects/"
_POINTERS: Final = "pointers/"
_POINTER_SUFFIX: Final = ".json"
_SHOWN_IDS: Final = 3
_REPORTED_EVERY: Final = 1000
SETTINGS_NAME: Final = "settings"
"""In place of a pointer's name, for the snapshot that `quality.accepted_snapshot` names."""

FindingKind = Literal[
    "object", "unused object", "pointer", "unknown pointer", "unfinished restore", "stray file", "superseded objects"
]


@dataclass(frozen=True)
class LakeFinding:
    """One thing that is wrong in a lake, or only to know."""

    kind: FindingKind
    subject: str
    """A pointer or a key of the store."""
    is_damage: bool
    found: str
    meaning: str
    """What it means for the user."""
    next_step: str


@dataclass(frozen=True)
class LakeCheck:
    """What a check found, and how much it looked at."""

    findings: tuple[LakeFinding, ...]
    pointers: int
    objects: int
    size_bytes: int

    @property
    def is_damaged(self) -> bool:
        """Whether something that the lake needs is missing or damaged."""
        return any(each.is_damage for each in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the check for programs."""
        return {**asdict(self), "is_damaged": self.is_damaged}


@dataclass
class LakeChecker:
    """One check of one lake; the index must be empty and keeps the ids of faulty objects."""

    lake: Lake
    store: Store
    """The store of the lake."""
    index: ObjectIndex
    named_by_settings: Mapping[str, Any] = field(default_factory=dict)
    """Values of the settings that name objects."""
    report_progress: Callable[[str], None] = lambda _: None
    _pointer_keys: list[str] = field(default_factory=list, init=False)
    _stray_keys: Counter[str] = field(default_factory=Counter, init=False)

    def check(self, scratch: Path | None = None) -> LakeCheck:
        """List the lake and follow its pointers; with a `scratch` folder, read every object too.

        Raises `LakeError` if the store cannot be listed.
        """
        self.index.add(self._list_objects())
        number, size_bytes = self.index.sum_objects()
        self.report_progress(f"{number:,} objects, {size_bytes / 1e9:,.2f} GB; following the pointers")
        findings = [*self._check_pointers(), *self._report_stray_keys()]
        if scratch is not None:
            findings += self._check_bytes(scratch)
        return LakeCheck((*findings, *self._report_unreached()), len(self._pointer_keys), number, size_bytes)

    def _list_objects(self) -> Iterator[IndexedObject]:
        """Yield the objects of one listing of the store; keep the names of pointers and count what is neither."""
        for entry in self.store.list(""):
            name = entry.key.rpartition("/")[2]
            if entry.key.startswith(_POINTERS) and name.endswith(_POINTER_SUFFIX):
                self._pointer_keys.append(entry.key)
            elif entry.key.startswith(_OBJECTS) and _is_object_key(entry.key, name):
                yield IndexedObject(name, entry.size_bytes)
            else:
                folder = entry.key.partition("/")[0]
                self._stray_keys[entry.key if folder in ("objects", "pointers") else folder] += 1

    def _check_pointers(self) -> Iterator[LakeFinding]:
        walk = LakeWalk(self.lake, self.index, checks_tables=True)
        for key in self._pointer_keys:
            name = key.removeprefix(_POINTERS).removesuffix(_POINTER_SUFFIX)
            try:
                pointer = self.lake.read_pointer(name)
            except LakeError as error:
                yield _explain_unreadable_pointer(name, error)
                continue
            if pointer is None:
                continue  # deleted since the listing
            if name == catalogue.UNFINISHED_RESTORE:
                yield _explain_unfinished_restore(pointer.value)
            if find_pointer_kind(name) is None:
                yield _explain_unknown_pointer(name)
            yield from _explain_object_faults(name, walk.follow(name, pointer.value))
        yield from _explain_object_faults(SETTINGS_NAME, walk.follow(SETTINGS_NAME, self.named_by_settings))

    def _check_bytes(self, scratch: Path) -> Iterator[LakeFinding]:
        """Read every object and compare its sha256."""
        number = self.index.sum_objects()[0]
        for at, each in enumerate(self.index.list_objects(), 1):
            if at % _REPORTED_EVERY == 0:
                self.report_progress(f"{at:,} of {number:,} objects read")
            try:
                with open_verified(self.store, each.sha256, scratch):
                    continue
            except ObjectMissingError:
                continue  # deleted since the listing, as no pointer led to it
            except DamagedObjectError:
                fault = "has bytes with another sha256"
            except LakeError as error:
                fault = f"cannot be read ({error})"
            if not self.index.is_faulty(each.sha256):
                yield from self._explain_damaged_bytes(each.sha256, fault)

    def _explain_damaged_bytes(self, sha256: str, fault: str) -> Iterator[LakeFinding]:
        pointer = self.index.find_pointer(sha256)
        if pointer is not None:
            self.index.add_faulty(sha256)
            yield from _explain_object_faults(pointer, [ObjectFault(pointer, "", sha256, fault)])
            return
        yield LakeFinding(
            "unused object",
            make_object_key(sha256),
            False,
            f"the object {fault}",
            "no pointer leads to it, so nothing reads it; but the disk may be failing",
            "check the disk; `habla-ml gc --delete` removes the object later",
        )

    def _report_stray_keys(self) -> Iterator[LakeFinding]:
        for key, number in sorted(self._stray_keys.items()):
            yield LakeFinding(
                "stray file",
                key,
                False,
                f"{number} file{'s' if number > 1 else ''} that habla_ml did not write here",
                "nothing reads it, and a backup does not contain it",
                "move it away if you know it; otherwise leave it",
            )

    def _report_unreached(self) -> Iterator[LakeFinding]:
        number, size_bytes = self.index.sum_unreached()
        if number:
            yield LakeFinding(
                "superseded objects",
                _OBJECTS,
                False,
                f"{number:,} objects, {size_bytes / 1e6:,.1f} MB, to which no pointer leads",
                "they were superseded, or their writer was killed; they only take space",
                "`habla-ml gc --delete` removes them after the grace period",
            )


def _is_object_key(key: str, name: str) -> bool:
    try:
        return make_object_key(name) == key
    except LakeError:
        return False


def _explain_object_faults(name: str, faults: Iterable[ObjectFault]) -> Iterator[LakeFinding]:
    """Yield one finding for all faults of the same kind below a pointer, so that a whole lost folder gives few."""
    grouped: dict[str, list[ObjectFault]] = {}
    numbers: Counter[str] = Counter()
    for each in faults:
        numbers[each.fault] += 1
        group = grouped.setdefault(each.fault, [])
        if len(group) < _SHOWN_IDS:
            group.append(each)
    kind = find_pointer_kind(name)
    for fault, shown in grouped.items():
        objects = ", ".join(f"{each.object_id}{f' ({each.key})' if each.key else ''}" for each in shown)
        rest = numbers[fault] - len(shown)
        found = f"object {objects}{f' and {rest} more' if rest else ''} {fault}"
        if kind is None:
            meaning = "what the pointer names cannot be read"
            otherwise = "otherwise correct what names it"
        else:
            meaning = f"{kind.content} cannot be read in full"
            otherwise = f"without a backup: {kind.next_step}"
        next_step = f"`habla-ml fsck --repair-from BACKUP` copies it from a backup; {otherwise}"
        yield LakeFinding("object", name, True, found, meaning, next_step)


def _explain_unreadable_pointer(name: str, error: LakeError) -> LakeFinding:
    kind = find_pointer_kind(name)
    content = "its content" if kind is None else kind.content
    otherwise = "" if kind is None else f"; without a backup: {kind.next_step}"
    return LakeFinding(
        "pointer",
        name,
        True,
        str(error),
        f"{content} cannot be found, though its objects may be whole",
        f"`habla-ml restore BACKUP --to NEW_FOLDER`, then copy pointers/{name}.json from there{otherwise}",
    )


def _explain_unknown_pointer(name: str) -> LakeFinding:
    return LakeFinding(
        "unknown pointer",
        name,
        False,
        "a pointer of a kind that this version of habla_ml does not use",
        "a newer version or a person wrote it; nothing reads it, and its objects stay",
        "update habla_ml if a newer version ran on this lake; otherwise look at its value, and delete it",
    )


def _explain_unfinished_restore(value: Mapping[str, Any]) -> LakeFinding:
    return LakeFinding(
        "unfinished restore",
        catalogue.UNFINISHED_RESTORE,
        True,
        f"the restore of the backup {value.get('backup')} was interrupted",
        "a part of the lake is missing, and an erased voice may be back",
        "run the same `habla-ml restore` again before anything else uses the lake; it continues",
    )
