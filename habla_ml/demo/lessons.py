"""Recordings of the demo in two phases: the lessons before `v1`, and those between `v1` and `v2`.

The first phase has less than a third of the lessons, so that `v1` still has much to learn when the second phase comes.
"""

from datetime import date
from pathlib import Path

from habla_ml.demo.classroom import ClassroomPlan, write_castilian_set, write_sessions, write_speaker_map

PEOPLE_SEED = 7
FIRST_LESSONS = ClassroomPlan(
    first_day=date(2026, 2, 2),
    days=5,
    sessions_per_day=10,
    segments_per_session=12,
    seed=1,
    has_faulty_sessions=True,
)
MORE_LESSONS = ClassroomPlan(
    first_day=date(2026, 2, 16), days=11, sessions_per_day=10, segments_per_session=12, seed=2, visit_days=4
)
CASTILIAN_CLIPS = 120
REPLAY_CLIPS = 240


def write_first_phase(root: Path, people_seed: int = PEOPLE_SEED) -> tuple[Path, ...]:
    """Write the first lessons, both sets of general Spanish and a speaker map of the teacher below `root`.

    Returns:
        Folders of the corrected sessions.
    """
    write_castilian_set(root / "out_of_domain", CASTILIAN_CLIPS, people_seed)
    write_castilian_set(root / "general_speech", REPLAY_CLIPS, people_seed + 1)
    write_speaker_map(root / "people.yaml", people_seed, with_children=False)
    return _write_lessons(root, FIRST_LESSONS, people_seed)


def write_second_phase(root: Path, people_seed: int = PEOPLE_SEED) -> tuple[Path, ...]:
    """Write more lessons and enrol the children; return the folders of the corrected sessions."""
    written = _write_lessons(root, MORE_LESSONS, people_seed)
    # Children share lessons. If they were enrolled from the start, nearly all lessons would be in train.
    write_speaker_map(root / "people.yaml", people_seed, with_children=True)
    return written


def _write_lessons(root: Path, plan: ClassroomPlan, people_seed: int) -> tuple[Path, ...]:
    """Write the lessons of a plan with their word alignments and speaker turns."""
    marks = root / "alignments"
    marks.mkdir(parents=True, exist_ok=True)
    return write_sessions(
        root / "recordings", plan, people_seed, marks / f"{plan.first_day}.csv", root / "speaker_turns"
    )
