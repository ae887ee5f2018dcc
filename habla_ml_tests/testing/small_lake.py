"""A lake of a few objects of every form: tables, JSON, and the folder of a model; no pipeline is run for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from habla_ml.backup.create import BackupRequest
from habla_ml.integrity.check import LakeCheck, LakeChecker
from habla_ml.integrity.object_index import open_object_index
from habla_ml.lake import Lake, Store, catalogue
from habla_ml.lake.table import put_table

DAYS = ("2026-02-16", "2026-02-17")


@dataclass(frozen=True)
class SmallLake:
    """A lake, its store and a work folder."""

    lake: Lake
    store: Store
    work_folder: Path

    def request(self, target: Store, keep: int | None = None, *, drop_before_erasure: bool = False) -> BackupRequest:
        """Return the request to back it up."""
        return BackupRequest(self.lake, self.store, target, self.work_folder, {}, keep, drop_before_erasure)

    def check(self, *, deep: bool = False) -> LakeCheck:
        """Check it like `habla-ml fsck`."""
        with open_object_index(self.work_folder) as index:
            return LakeChecker(self.lake, self.store, index).check(self.work_folder if deep else None)

    def write_day(self, day: str, text: str) -> str:
        """Publish the corrections of a day again; return the object of the table."""
        seen = self.lake.read_pointer(catalogue.ANNOTATIONS.name(day))
        table = put_table(self.lake, pa.table({"segment_id": ["one"], "text": [f"{text} del {day}"]}))
        value = {"parquet": table, "set_aside": self.lake.put_json([]), "inputs": {}, "events": 1}
        self.lake.move_pointer(catalogue.ANNOTATIONS.name(day), value, seen)
        return table


def make_small_lake(root: Path, store: Store) -> SmallLake:
    """Publish two days and a model in an empty store."""
    small = SmallLake(Lake(store, root / "cache"), store, root / "work")
    small.work_folder.mkdir(parents=True, exist_ok=True)
    for day in DAYS:
        small.write_day(day, "Buenos días")
    model = root / "model"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text("{}")
    (model / "model.bin").write_bytes(bytes(range(256)) * 40)
    value = {"tree": small.lake.put_tree(model), "record": small.lake.put_json({"steps": 1})}
    small.lake.move_pointer(catalogue.CHECKPOINT.name("v1"), value, None)
    return small


def read_lake(lake: Lake) -> tuple[dict[str, dict], dict[str, bytes]]:
    """Return the values of all pointers but the note of a restore, and all objects that they lead to."""
    found = {name: lake.read_pointer(name) for name in lake.list_pointers("") if name != catalogue.RESTORED}
    pointers = {name: dict(each.value) for name, each in found.items() if each is not None}
    return pointers, {each: lake.get_bytes(each) for each in lake.find_reachable(set(lake.list_object_ids()))}
