"""What must hold after a trial: nothing finished is lost or doubled, and no run is stuck."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import dagster as dg

from habla_ml.corpus.build import load_corpus_day
from habla_ml.defs.jobs import RETRAIN
from habla_ml.defs.partitions import MODEL_VERSIONS
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.table import read_parquet
from habla_ml.model_version import version_number
from habla_ml.recordings.days import load_day
from habla_ml.recordings.segments import read_segment_metadata
from habla_ml.training.plan import list_evaluated_trainings
from habla_ml_tests.soak.live_deployment import LiveDeployment
from habla_ml_tests.soak.recorder import RecordedLesson

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def find_lost_lessons(lake: Lake, lessons: Iterable[RecordedLesson]) -> list[str]:
    """Return a message for each lesson without exactly one row for each segment, and one for each reviewed text."""
    lessons = list(lessons)
    problems = []
    for day in sorted({each.day for each in lessons}):
        audio, texts = _count_rows(lake, day)
        for lesson in (each for each in lessons if each.day == day):
            found = {file: count for (session, file), count in audio.items() if session == lesson.name}
            if found != dict.fromkeys(lesson.segments, 1):
                problems.append(f"{lesson.name} has {', '.join(lesson.segments)}; the lake has {found}")
            if texts[lesson.name] != lesson.reviewed:
                problems.append(f"{lesson.name} has {lesson.reviewed} texts; the lake has {texts[lesson.name]}")
    return problems


def _count_rows(lake: Lake, day: str) -> tuple[Counter[tuple[str, str]], Counter[str]]:
    """Return the recorded segments of a day by session and file, and its texts by session."""
    published, corpus = load_day(lake, day), load_corpus_day(lake, day)
    audio, texts = Counter[tuple[str, str]](), Counter[str]()
    if published is not None:
        rows = read_segment_metadata(lake, published.metadata, ["session_id", "file_name"])
        audio.update((row["session_id"], row["file_name"]) for row in rows)
    if corpus is not None:
        texts.update(read_parquet(lake.fetch_path(corpus.parquet), ["session_id"])["session_id"].to_pylist())
    return audio, texts


def find_version_problems(deployment: LiveDeployment) -> list[str]:
    """Return a message for each model version that is lost, doubled or unfinished."""
    lake = deployment.open_lake()
    trained = list_evaluated_trainings(lake)
    names = [plan.version for plan in trained]
    requested = sorted(deployment.instance.get_dynamic_partitions(MODEL_VERSIONS), key=version_number)
    problems = []
    if names != [f"v{number}" for number in range(1, len(names) + 1)]:
        problems.append(f"the lake has the versions {names}, which are not v1 to v{len(names)}")
    if requested != names:
        problems.append(f"versions {requested} were requested, {names} are trained and evaluated")
    if len({plan.snapshot for plan in trained}) != len(trained):
        problems.append("two versions were trained on one snapshot")
    problems += [
        f"{name} has no {family.name(name)}"
        for name in names
        for family in (catalogue.CHECKPOINT, catalogue.REPORT)
        if lake.read_pointer(family.name(name)) is None
    ]
    successes = Counter(
        run.tags.get("dagster/partition")
        for run in deployment.instance.get_runs(
            filters=dg.RunsFilter(job_name=RETRAIN, statuses=[dg.DagsterRunStatus.SUCCESS])
        )
    )
    problems += [f"{count} runs of {version} succeeded" for version, count in successes.items() if count > 1]
    return problems


def find_stuck_runs(instance: dg.DagsterInstance) -> list[str]:
    """Return a message for each run that is not finished."""
    runs = instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED))
    return [f"run {run.run_id[:8]} of {run.job_name} is {run.status.value}" for run in runs]


def count_runs(instance: dg.DagsterInstance) -> dict[str, int]:
    """Return the number of runs by job and status."""
    return dict(sorted(Counter(f"{run.job_name} {run.status.value}" for run in instance.get_runs()).items()))
