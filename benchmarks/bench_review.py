"""WER by annotated minutes: a ranked choice of the segments to annotate against a random one.

A synthetic classroom is recorded without corrections. Both choices take the same minutes, which get their true
transcripts. The demo's base model is fine-tuned on them and tested on other lessons of the classroom. The choices are
those of `habla_ml.review`; the random share for measuring is left out, because it is the same for both. A pair has its own
candidates, random choice and seed of training. The interval is Student's t over pairs.

    python benchmarks/bench_review.py --minutes 5 10 20 --pairs 20
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from scipy import stats

from habla_ml.annotation.event_log import load_events, read_events
from habla_ml.annotation.review_queue import ReviewItem
from habla_ml.annotation.source import SourceContext
from habla_ml.annotation.sources.habla import collect
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.snapshot import Snapshot, read_utterances, save_snapshot
from habla_ml.demo.classroom import ClassroomPlan, write_sessions
from habla_ml.evaluation.scoring.alignment import score_utterances
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.export.ctranslate2 import CTRANSLATE2
from habla_ml.export.exporter import ExportOptions
from habla_ml.export.publish import SourceCheckpoint, checkout_artefact, publish_export
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.recordings.days import load_day
from habla_ml.recordings.ingest import ingest_day
from habla_ml.recordings.segments import read_segment_metadata
from habla_ml.review.candidates import gather_pool, list_recorded_days
from habla_ml.review.model_hypotheses import ReleasedModel, decode_pool
from habla_ml.review.selection import DecodedCandidate, choose_within_budget, draw_random, rank
from habla_ml.settings import Settings, load_settings
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.recipe import Recipe, load_recipe
from habla_ml.training.train import train_version
from habla_ml.transcription.hypothesis_cache import transcribe_cached
from habla_ml.transcription.open import open_transcriber
from habla_ml.transcription.options import DecodingOptions

ROOT = Path(__file__).resolve().parent.parent
NOW = datetime(2026, 12, 1, tzinfo=UTC)
POOL_DAY, TEST_DAY = date(2026, 3, 2), date(2026, 6, 1)
TEST_DAYS = 2
VALIDATION_CLIPS = 8


@dataclass(frozen=True)
class ReviewExperiment:
    """A recorded classroom and the true transcript of each segment."""

    folder: Path
    lake: Lake
    settings: Settings
    rows: dict[str, dict[str, object]]
    """By segment: its snapshot row with the true sentence."""

    def list_pool_sessions(self) -> list[str]:
        """Return the sessions to choose from: those before the test."""
        return sorted({str(row["session_id"]) for row in self.rows.values() if str(row["day"]) < f"{TEST_DAY}"})

    @property
    def pool_minutes(self) -> float:
        """Minutes of speech to choose from."""
        rows = (row for row in self.rows.values() if str(row["day"]) < f"{TEST_DAY}")
        return sum(float(str(row["duration_s"])) for row in rows) / 60


def make_experiment(folder: Path, days: int, sessions: int, segments: int, seed: int) -> ReviewExperiment:
    """Record `days` of lessons for the pool and two later days for the test."""
    (folder / "configs").mkdir(parents=True)
    for first_day, n_days, plan_seed in ((POOL_DAY, days, seed), (TEST_DAY, TEST_DAYS, seed + 1000)):
        plan = ClassroomPlan(first_day, n_days, sessions, segments, plan_seed)
        write_sessions(folder / "recordings", plan, seed=5)
    tree = {
        "work_folder": "work",
        "lake": {"url": "lake"},
        "recordings": {"folder": "recordings"},
        "corpus": {"conventions": str(ROOT / "configs/conventions/orthographic-v4.yaml")},
        "training": {"recipe": str(ROOT / "configs/recipes/demo-full.yaml")},
        "release": {"store": {"url": "cdn"}},
        "review": {"choice": "ranked"},
    }
    profile = folder / "configs" / "bench.yaml"
    profile.write_text(yaml.safe_dump(tree))
    settings = load_settings(profile, {})
    lake = Lake(DirectoryStore(folder / "lake"), folder / "cache")
    person = Lake(DirectoryStore(folder / "person"), folder / "cache")
    conventions = load_conventions(settings.corpus.conventions)
    rows: dict[str, dict[str, object]] = {}
    for day in sorted(
        {f"{each.name[-15:-11]}-{each.name[-11:-9]}-{each.name[-9:-7]}" for each in list_session_folders(folder)}
    ):
        facts = ingest_day(settings.recordings.folder, day, lake, settings, NOW).metadata
        collect(SourceContext(person, settings, NOW), day)
        events = load_events(person, day)
        typed = {} if events is None else {each.segment_id: each.text for each in read_events(person, events)}
        for row in read_segment_metadata(lake, facts):
            reading = conventions.read(typed.get(row["segment_id"], ""))
            if not reading.problem:
                rows[row["segment_id"]] = {
                    **row,
                    "speaker": row["speaker"] or "unknown",
                    "sentence": reading.sentence,
                }
    return ReviewExperiment(folder, lake, settings, rows)


def list_session_folders(folder: Path) -> list[Path]:
    """Return the folders of the recorded sessions."""
    return sorted((folder / "recordings").iterdir())


def choose(
    strategy: str, experiment: ReviewExperiment, base: ReleasedModel, pair: int, minutes: float
) -> list[ReviewItem]:
    """Return the segments of a pair that a strategy chooses, from the candidates that the product would consider."""
    settings = experiment.settings
    pool = gather_pool(
        experiment.lake, settings, f"pair {pair}", dict.fromkeys(experiment.list_pool_sessions(), "train")
    )
    usable = [each for each in pool.members if each.segment_id in experiment.rows]
    if strategy == "random":
        drawn = [DecodedCandidate(each) for each in pool.drawn if each.segment_id in experiment.rows]
        return draw_random(drawn, minutes)
    decoded = decode_pool(experiment.lake, usable, [base], settings, print).by_segment
    known = [DecodedCandidate(each, decoded[each.segment_id]) for each in usable]
    ranked = rank(known, settings.review, settings.evaluation.quiet_below_dbfs)
    return choose_within_budget(ranked, minutes, settings.review.most_segments_per_session)


def snapshot_of(experiment: ReviewExperiment, chosen: Sequence[ReviewItem]) -> Snapshot:
    """Return a snapshot that trains on the selection and tests on the other lessons."""
    later = [row for row in experiment.rows.values() if str(row["day"]) >= f"{TEST_DAY}"]
    rows = [{**experiment.rows[each.segment_id], "split": "train"} for each in chosen]
    rows += [{**row, "split": "validation"} for row in later[:VALIDATION_CLIPS]]
    rows += [{**row, "split": "test"} for row in later[VALIDATION_CLIPS:]]
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    recordings = {day: load_day(experiment.lake, day).parquet for day in list_recorded_days(experiment.lake)}
    counts = {split: sum(row["split"] == split for row in rows) for split in ("train", "validation", "test")}
    draft = Snapshot(
        id="",
        segments=experiment.lake.put_bytes(out.getvalue()),
        recordings=recordings,
        corpus={},
        conventions="orthographic",
        conventions_digest="0" * 64,
        ledger=experiment.lake.put_json({"groups": {row["session_id"]: row["split"] for row in rows}}),
        hours=dict.fromkeys(counts, 0.0),
        counts=counts,
    )
    return save_snapshot(experiment.lake, draft)


def train(experiment: ReviewExperiment, snapshot: Snapshot, recipe: Recipe, version: str) -> str:
    """Fine-tune and convert; return the tree id of the served model."""
    record = train_version(experiment.lake, snapshot, recipe, version, experiment.folder / "training", lambda _: None)
    return convert(
        experiment,
        version,
        record.tree,
        checkout_artefact(experiment.lake, record.tree, experiment.folder / "work"),
    )


def convert(experiment: ReviewExperiment, owner: str, identity: str, folder: Path) -> str:
    """Convert a checkpoint and publish it; return its tree id."""
    work = experiment.folder / "work"
    name, source = f"models/{owner}/ctranslate2", SourceCheckpoint(identity, lambda: folder)
    return publish_export(experiment.lake, name, CTRANSLATE2, source, ExportOptions("int8"), work, print).artefact


def measure_wer(experiment: ReviewExperiment, tree: str, snapshot: Snapshot) -> float:
    """Return the WER on the test lessons, 0 to 1 and above."""
    folder = checkout_artefact(experiment.lake, tree, experiment.folder / "work")
    test = list(read_utterances(experiment.lake, snapshot, "test"))
    with closing(open_transcriber(DecodingOptions(), folder)) as transcriber:
        hypotheses = transcribe_cached(experiment.lake, tree, transcriber, test)
    scores = score_utterances([each.sentence for each in test], [each.text for each in hypotheses], normalise_spanish)
    return sum(each.words.errors for each in scores) / sum(each.words.reference_words for each in scores)


def format_mean(points: Sequence[float]) -> str:
    """Return mean and 95 % interval over pairs; without an interval for one pair."""
    mean = float(np.mean(points))
    if len(points) < 2:
        return f"{mean:+.1f}"
    half = float(stats.t.ppf(0.975, len(points) - 1) * stats.sem(points))
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"


def make_recipe(settings: Settings, steps: int) -> Recipe:
    """Return the demo's recipe with a fixed number of steps."""
    changes = {"epochs": None, "min_steps": None, "max_steps": steps, "evaluate_every_steps": steps}
    quick = {"validation_clips": VALIDATION_CLIPS, "base_share": 0.0}
    return load_recipe(settings.training.recipe).model_copy(update={**changes, **quick})


def main() -> int:
    """Print the WER by minutes for both choices."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, nargs="+", default=[5.0, 10.0, 20.0])
    parser.add_argument("--days", type=int, default=52, help="of lessons to choose from; 52 are 300 minutes")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="number of the first pair")
    chosen = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        experiment = make_experiment(Path(scratch), chosen.days, 10, 15, seed=11)
        recipe = make_recipe(experiment.settings, chosen.steps)
        model = resolve_base_model(recipe)
        base = ReleasedModel("base", convert(experiment, "base", model.digest, model.folder))
        wer = measure_wer(experiment, base.artefact, snapshot_of(experiment, []))
        print(f"{experiment.pool_minutes:.0f} minutes to choose from; {chosen.steps} steps; base WER {wer:.1%}")
        print(f"{'minutes':>8} {'pair':>5} {'random':>8} {'ranked':>8} {'points':>7}   mean (95 %)", flush=True)
        points: dict[float, list[float]] = {each: [] for each in chosen.minutes}
        for pair, minutes in product(range(chosen.first, chosen.first + chosen.pairs), chosen.minutes):
            found = []
            for strategy in ("random", "ranked"):
                snapshot = snapshot_of(experiment, choose(strategy, experiment, base, pair, minutes))
                seeded = recipe.model_copy(update={"seed": recipe.seed + pair})
                tree = train(experiment, snapshot, seeded, f"{strategy}-{minutes:g}-{pair}")
                found.append(100 * measure_wer(experiment, tree, snapshot))
            points[minutes].append(found[1] - found[0])
            line = f"{minutes:8g} {pair:5d} {found[0]:7.1f}% {found[1]:7.1f}% {points[minutes][-1]:+7.1f}"
            print(f"{line}   {format_mean(points[minutes])}", flush=True)
    print(f"{time.perf_counter() - started:.0f} s in total")
    return 0


if __name__ == "__main__":
    sys.exit(main())
