"""Print which mutants of an area survive its tests, and the share of killed mutants: ``make mutation AREA=promotion``.

    python -m tools.mutation promotion scoring --sample 100 --seed 17

A sample is drawn at random from all mutants of the area. The interval of the share is Wilson's at 95 %.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tools.mutation.forked_tests import MutationRun, Outcome
from tools.mutation.mutants import Mutant, iterate_sources, list_mutants

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class MutationArea:
    """Sources, and the quick test files that cover them."""

    sources: tuple[str, ...]
    tests: tuple[str, ...]
    without: str = ""
    """Tests to leave out, an expression of `pytest -k`."""
    has_slow_tests: bool = False
    """Whether tests that are marked as slow run too."""


AREAS: Final = {
    "promotion": MutationArea(
        ("habla_ml/evaluation/promotion/*.py",),
        (
            "evaluation/promotion",
            "evaluation/comparison/test_format_scores.py",
            "evaluation/test_calibration.py",
            "evaluation/test_recomputed_statistics.py",
            "release/test_gate.py",
        ),
    ),
    "scoring": MutationArea(
        ("habla_ml/evaluation/scoring/*.py",),
        ("evaluation/scoring", "evaluation/comparison/test_slices.py", "evaluation/test_recomputed_statistics.py"),
        "not every_number_up_to_three_thousand",
    ),
    "splits": MutationArea(
        ("habla_ml/corpus/*split*.py",),
        (
            "corpus/test_planned_splits.py",
            "corpus/test_splits.py",
            "corpus/test_split_assignment.py",
            "corpus/test_split_ledger.py",
            "corpus/test_split_tables.py",
            "corpus/test_split_totals.py",
            "corpus/test_splits_people.py",
            "corpus/test_sealed_share.py",
            "review/test_split_plan.py",
        ),
    ),
    "consent": MutationArea(
        ("habla_ml/consent/*.py",),
        ("consent", "recordings/test_new_consent.py", "annotation/sources/tables/test_table_consent.py"),
    ),
    "lake": MutationArea(
        ("habla_ml/lake/*.py",),
        ("lake", "recordings/test_day_tables.py", "cleanup/test_clean_up.py"),
        "not eight_writers and not killed_at_any and not memory_limit and not increment",
    ),
    "manifest": MutationArea(
        (
            "habla_ml/release/manifest.py",
            "habla_ml/release/archive.py",
            "habla_ml/release/keys.py",
            "habla_ml/release/publish.py",
            "habla_ml/release/signing.py",
            "habla_ml/backup/manifest.py",
            "habla_ml/training/bundle/manifest.py",
        ),
        ("release/test_keys.py", "release/test_publish.py", "backup", "training/bundle"),
        "not killed",
    ),
    "release": MutationArea(
        (
            "habla_ml/release/candidate.py",
            "habla_ml/release/channel.py",
            "habla_ml/release/gate.py",
            "habla_ml/release/mo*.py",
            "habla_ml/release/override.py",
            "habla_ml/release/sealed.py",
            "habla_ml/release/st*.py",
        ),
        (
            "release/test_candidate.py",
            "release/test_gate.py",
            "release/test_model_info.py",
            "release/test_moves.py",
            "release/test_publish.py",
            "release/test_sealed.py",
            "release/test_served.py",
            "release/test_stale_evidence.py",
            "evaluation/comparison/test_models_under_test.py",
        ),
        has_slow_tests=True,
    ),
}


def compute_wilson_interval(count: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share."""
    z = 1.959964
    middle, half = count + z * z / 2, z * math.sqrt(count * (of - count) / of + z * z / 4)
    return (middle - half) / (of + z * z), (middle + half) / (of + z * z)


def test_area(name: str, sample: int, seed: int, only: str) -> None:
    """Test the mutants of an area in this process, and print what survives."""
    area = AREAS[name]
    found = [each for path in iterate_sources(ROOT, area.sources) for each in list_mutants(path, ROOT)]
    chosen = [each for each in found if only in f"{each.path}:{each.line}"]
    if 0 < sample < len(chosen):
        chosen = random.Random(seed).sample(chosen, sample)  # noqa: S311 (no secret)
    chosen.sort(key=lambda each: (each.path, each.line))
    outcomes: Counter[Outcome] = Counter()

    def report(mutant: Mutant, outcome: Outcome) -> None:
        outcomes[outcome] += 1
        if outcome in ("survived", "no test"):
            os.write(shown, f"{outcome}: {mutant.path}:{mutant.line} {mutant.function} {mutant.describe()}\n".encode())

    shown = os.dup(1)
    arguments = [str(ROOT / "habla_ml_tests" / each) for each in area.tests]
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(ROOT)]
    expression = ["-k", area.without] if area.without else []
    options += [] if area.has_slow_tests else ["-m", "not slow"]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = folder
        plugin = MutationRun(ROOT, chosen, report)
        status = pytest.main([*options, *expression, "--basetemp", f"{folder}/tests", *arguments], plugins=[plugin])
    if status not in (0, 5):
        sys.exit(f"{name}: pytest ended with {status}")
    killed, total = outcomes["killed"] + outcomes["timeout"], outcomes.total()
    low, high = compute_wilson_interval(killed, total)
    print(
        f"{name}: {killed} of {total} killed ({outcomes['timeout']} by time) of {len(found)} mutants, "
        f"{100 * killed / total:.0f} % ({100 * low:.0f} to {100 * high:.0f})",
        flush=True,
    )


def main() -> None:
    """Test each area in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"of {', '.join(AREAS)}; all without one")
    parser.add_argument("--sample", type=int, default=100, help="mutants of each area; 0 for all")
    parser.add_argument("--seed", type=int, default=17, help="of the sample")
    parser.add_argument("--only", default="", help="part of FILE:LINE")
    given = parser.parse_args()
    if unknown := set(given.areas).difference(AREAS):
        parser.error(f"no area {', '.join(sorted(unknown))}; the areas are {', '.join(AREAS)}")
    areas = given.areas or list(AREAS)
    if len(areas) == 1:
        test_area(areas[0], given.sample, given.seed, given.only)
        return
    for name in areas:
        rest = ["--sample", str(given.sample), "--seed", str(given.seed), "--only", given.only]
        subprocess.run([sys.executable, "-m", "tools.mutation", name, *rest], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
