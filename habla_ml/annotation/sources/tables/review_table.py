"""Writing the review queue as tables, one folder with clips for each person.

No row has a transcript, so that every text in the column is typed by a person; the machine's text is in the column
`hint`, and blind segments have none. A segment for two people is in the tables of the first two.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from habla_ml.annotation.review_audio import iterate_audio
from habla_ml.annotation.review_queue import BLIND_PREFIX, BlindRequest, ReviewItem, load_blind_requests
from habla_ml.delimited.spreadsheet import ENCODING, SEPARATOR, write_cell
from habla_ml.errors import InputError
from habla_ml.lake import Lake

REVIEW_TASK: Final = "review"
"""Task of a row that shows a text, or whose request is no blind one."""
TABLE_NAME: Final = "fine_tune_dataset.csv"
_COLUMNS: Final = ("audio_path", "transcript", "status", "reason", "person", "hint", "model_version", "task")


def write_review_tables(lake: Lake, items: Sequence[ReviewItem], people: Sequence[str], folder: Path) -> dict[str, int]:
    """Write `folder/<person>/fine_tune_dataset.csv` with its clips for each person; return person → rows.

    The first person gets every segment, the second only those for two people. Raises `InputError` if a folder exists,
    or a name is no folder name or repeated.
    """
    names = [each.strip() for each in people]
    if len(set(names)) < len(names) or any(not each or Path(each).name != each for each in names):
        raise InputError(f"people {', '.join(map(repr, people))} need distinct names without a slash")
    blind = load_blind_requests(lake)
    counts = {}
    for number, person in enumerate(names):
        own = [each for each in items if number < max(1, each.blind_people)]
        try:
            (folder / person / "clips").mkdir(parents=True)
        except FileExistsError:
            raise InputError(
                f"{folder / person} exists already; name a new folder, since it may hold answers"
            ) from None
        with_audio = _write_clips(lake, own, folder / person / "clips")
        rows = [
            {
                "audio_path": f"clips/{each.segment_id}.flac",
                "person": person,
                "hint": write_cell(each.hint),
                "model_version": each.model_version,
                "task": _name_task(blind.get(each.segment_id) if each.is_blind else None),
            }
            for each in own
            if each.segment_id in with_audio
        ]
        with (folder / person / TABLE_NAME).open("w", encoding=ENCODING, newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS, restval="", delimiter=SEPARATOR)
            writer.writeheader()
            writer.writerows(rows)
        counts[person] = len(rows)
    return counts


def _name_task(request: BlindRequest | None) -> str:
    """Return the task of a row; a key of digits alone would be a number in a spreadsheet, which rounds it."""
    return REVIEW_TASK if request is None else f"{BLIND_PREFIX}{request.task}"


def _write_clips(lake: Lake, items: Sequence[ReviewItem], folder: Path) -> set[str]:
    """Write the audio of each segment that the lake has; return their ids."""
    written: set[str] = set()
    for _, segment_id, flac in iterate_audio(lake, items):
        (folder / f"{segment_id}.flac").write_bytes(flac)
        written.add(segment_id)
    return written
