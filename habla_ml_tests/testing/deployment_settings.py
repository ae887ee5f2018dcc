"""The settings of a small deployment below a folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from habla_ml.settings import Settings, load_settings

PROJECT = Path(__file__).resolve().parents[2]


def write_settings(folder: Path, **sections: Mapping[str, Any]) -> Settings:
    """Write `configs/here.yaml` below the folder, with these sections in addition, and load it."""
    (folder / "recordings").mkdir(exist_ok=True)
    (folder / "configs").mkdir(exist_ok=True)
    tree = {
        "work_folder": "work",
        "lake": {"url": "lake"},
        "recordings": {"folder": "recordings"},
        "corpus": {"conventions": str(PROJECT / "configs/conventions/orthographic-v4.yaml")},
        "training": {"recipe": str(PROJECT / "configs/recipes/demo-full.yaml")},
        "release": {"store": {"url": "cdn"}},
        **sections,
    }
    path = folder / "configs" / "here.yaml"
    path.write_text(yaml.safe_dump(tree), "utf-8")
    return load_settings(path, {})
