"""The extent of a run: all of it, or with a few clips and steps to try the tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

import yaml

from habla_ml.demo.classroom import ClassroomPlan, write_castilian_set, write_sessions, write_speaker_map
from habla_ml.demo.lessons import FIRST_LESSONS, MORE_LESSONS, PEOPLE_SEED
from habla_ml.settings import Settings, configs_folder, load_settings

_HERE: Final = Path(__file__).parent
_CONVENTIONS: Final = "conventions/orthographic-v4.yaml"


@dataclass(frozen=True)
class RealPlan:
    """How much speech, training and decoding a run has."""

    lessons: tuple[ClassroomPlan, ...]
    castilian_clips: int
    replay_clips: int
    prompt_clips: int
    """Clips of each set that are decoded with both prompts."""
    whisperx_clips: int
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Changes of `recipe.yaml`."""
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the section `evaluation` of `settings.yaml`."""


FULL: Final = RealPlan(
    lessons=(FIRST_LESSONS, MORE_LESSONS),
    castilian_clips=60,
    replay_clips=240,
    prompt_clips=40,
    whisperx_clips=10,
)
QUICK: Final = RealPlan(
    lessons=(ClassroomPlan(first_day=date(2026, 2, 2), days=3, sessions_per_day=3, segments_per_session=3, seed=1),),
    castilian_clips=3,
    replay_clips=4,
    prompt_clips=2,
    whisperx_clips=1,
    recipe={"max_steps": 2, "warmup_steps": 1, "batch_s": 16, "evaluate_every_steps": 2, "validation_clips": 2},
    evaluation={"parity_clips": 1, "profile_clips": 1, "format_clips": 1, "non_speech_takes": 0, "beam_size": 1},
)


def write_speech(root: Path, plan: RealPlan) -> None:
    """Write the classroom's lessons, the people and both sets of general Spanish below `root`."""
    write_castilian_set(root / "out_of_domain", plan.castilian_clips, PEOPLE_SEED)
    write_castilian_set(root / "general_speech", plan.replay_clips, PEOPLE_SEED + 1)
    write_speaker_map(root / "people.yaml", PEOPLE_SEED, with_children=False)
    marks = root / "alignments"
    marks.mkdir(parents=True, exist_ok=True)
    for lessons in plan.lessons:
        words = marks / f"{lessons.first_day}.csv"
        write_sessions(root / "recordings", lessons, PEOPLE_SEED, words, root / "speaker_turns")


def write_settings(root: Path, base_model: Path, plan: RealPlan) -> Settings:
    """Write settings and recipe of a run below `root`, with every path absolute or below it, and load them."""
    recipe = yaml.safe_load((_HERE / "recipe.yaml").read_text("utf-8"))
    settings = yaml.safe_load((_HERE / "settings.yaml").read_text("utf-8"))
    recipe |= {"base_model": str(base_model.resolve()), **plan.recipe}
    settings["corpus"]["conventions"] = str(configs_folder() / _CONVENTIONS)
    settings["training"]["recipe"] = "configs/recipe.yaml"
    settings["evaluation"] |= plan.evaluation
    folder = root / "configs"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("recipe", recipe), ("real", settings)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    return load_settings(folder / "real.yaml", {})
