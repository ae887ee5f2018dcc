"""WER by annotated minutes: the review queue against a random choice of the same minutes.

A synthetic classroom is recorded without corrections. Each strategy selects the same number of minutes, which get
their true transcripts. The demo's base model is fine-tuned on them and tested on other lessons of the classroom. The
queue decodes with the base model and includes its random share, as in the product.

    python benchmarks/bench_review.py --minutes 5 10 --seeds 4
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
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

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
from habla_ml.review.selection import DecodedCandidate, choose_within_budget, draw_random, interleave, rank
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
DRAWS = 2000


@dataclass(frozen=True)
class ReviewExperiment:
    """A recorded classroom and the true transcript of each segment."""

    folder: Path
    lake: Lake
    settings: Settings
    rows: dict[str, dict[str, object]]
    """By segment: its snapshot row with the true sentence."""


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
        "corpus": {"conventions": str(ROOT / "configs/conventions/orthographic-v1.yaml")},
        "training": {"recipe": str(ROOT / "configs/recipes/demo-full.yaml")},
        "release": {"store": {"url": "cdn"}},
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


def load_considered(
    experiment: ReviewExperiment, base: ReleasedModel
) -> tuple[list[DecodedCandidate], list[DecodedCandidate]]:
    """Return the pool, decoded by the base model, and its random order."""
    pool = gather_pool(experiment.lake, experiment.settings, "bench")
    usable = [each for each in pool.members if each.day < f"{TEST_DAY}" and each.segment_id in experiment.rows]
    decoded = decode_pool(experiment.lake, usable, [base], experiment.settings, print).by_segment
    known = {each.segment_id: DecodedCandidate(each, decoded[each.segment_id]) for each in usable}
    return list(known.values()), [known[each.segment_id] for each in pool.drawn if each.segment_id in known]


def select(
    strategy: str,
    experiment: ReviewExperiment,
    pool: list[DecodedCandidate],
    drawn: list[DecodedCandidate],
    minutes: float,
    seed: int,
) -> list[ReviewItem]:
    """Return the segments that a strategy selects."""
    order = [drawn[at] for at in np.random.default_rng(seed).permutation(len(drawn))]
    if strategy == "random":
        return draw_random(order, minutes)
    review = experiment.settings.review
    chance = draw_random(order, minutes * review.random_share)
    taken = {each.segment_id for each in chance}
    rest = minutes - sum(each.duration_s for each in chance) / 60
    ranked = rank(pool, review, experiment.settings.evaluation.quiet_below_dbfs)
    by_chance = [each for each in order if each.candidate.segment_id in taken]
    return interleave(choose_within_budget(ranked, rest, review.most_segments_per_session, by_chance), chance)


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


def count_errors(experiment: ReviewExperiment, tree: str, snapshot: Snapshot) -> tuple[dict[str, np.ndarray], float]:
    """Return [errors, words] by session of the test lessons, and the WER."""
    folder = checkout_artefact(experiment.lake, tree, experiment.folder / "work")
    test = list(read_utterances(experiment.lake, snapshot, "test"))
    with closing(open_transcriber(DecodingOptions(), folder)) as transcriber:
        hypotheses = transcribe_cached(experiment.lake, tree, transcriber, test)
    scores = score_utterances([each.sentence for each in test], [each.text for each in hypotheses], normalise_spanish)
    sessions: dict[str, np.ndarray] = {each.session_id: np.zeros(2) for each in test}
    for each, score in zip(test, scores, strict=True):
        sessions[each.session_id] += (score.words.errors, score.words.reference_words)
    errors, words = sum(sessions.values())
    return sessions, float(errors / words)


def bootstrap_interval(ours: dict[str, np.ndarray], peer: dict[str, np.ndarray]) -> tuple[float, float]:
    """Return the 95 % interval of the difference in points (queue minus random), over sessions."""
    pairs = np.array([[ours[name], peer[name]] for name in ours])
    draws = np.random.default_rng(1).integers(0, len(pairs), (DRAWS, len(pairs)))
    totals = pairs[draws].sum(axis=1)
    low, high = np.percentile(
        100 * (totals[:, 0, 0] / totals[:, 0, 1] - totals[:, 1, 0] / totals[:, 1, 1]), [2.5, 97.5]
    )
    return float(low), float(high)


def main() -> int:
    """Print the WER by minutes for both strategies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, nargs="+", default=[5.0, 10.0])
    parser.add_argument("--days", type=int, default=15)
    parser.add_argument("--sessions", type=int, default=8, help="lessons per day")
    parser.add_argument("--segments", type=int, default=10, help="segments per lesson")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=1)
    chosen = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        experiment = make_experiment(Path(scratch), chosen.days, chosen.sessions, chosen.segments, seed=11)
        recipe = load_recipe(experiment.settings.training.recipe).model_copy(
            update={
                "epochs": None,
                "min_steps": None,
                "max_steps": chosen.steps,
                "evaluate_every_steps": chosen.steps,
                "validation_clips": VALIDATION_CLIPS,
                "base_share": 0.0,
            }
        )
        model = resolve_base_model(recipe)
        base = ReleasedModel("base", convert(experiment, "base", model.digest, model.folder))
        pool, drawn = load_considered(experiment, base)
        hours = sum(each.candidate.duration_s for each in pool) / 60
        _, wer = count_errors(experiment, base.artefact, snapshot_of(experiment, []))
        print(f"{len(pool)} segments, {hours:.1f} minutes in the pool; {chosen.steps} steps; base WER {wer:.1%}")
        print(f"{'minutes':>8} {'seed':>5} {'random':>8} {'queue':>8} {'points':>7}   95 % over test sessions")
        for seed in range(chosen.seeds):
            for minutes in chosen.minutes:
                found = {}
                for strategy in ("random", "queue"):
                    snapshot = snapshot_of(experiment, select(strategy, experiment, pool, drawn, minutes, seed))
                    seeded = recipe.model_copy(update={"seed": recipe.seed + seed})
                    tree = train(experiment, snapshot, seeded, f"{strategy}-{minutes:g}-{seed}")
                    found[strategy] = count_errors(experiment, tree, snapshot)
                low, high = bootstrap_interval(found["queue"][0], found["random"][0])
                peer, ours = found["random"][1], found["queue"][1]
                print(
                    f"{minutes:8g} {seed:5d} {peer:8.1%} {ours:8.1%} {100 * (ours - peer):+7.1f}   "
                    f"{low:+.1f} … {high:+.1f}; ratio {ours / peer:.2f}",
                    flush=True,
                )
    print(f"{time.perf_counter() - started:.0f} s in total")
    return 0


if __name__ == "__main__":
    sys.exit(main())
