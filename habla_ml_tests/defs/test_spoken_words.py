"""Spoken words never enter Dagster's own storage, where no erasure reaches them; `test_daemon` has the hypotheses."""

import csv
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from shutil import copytree

import dagster as dg
import pytest
import yaml

from habla_ml.annotation.event_log import append_events, load_events, read_events
from habla_ml.definitions import build_definitions
from habla_ml.settings import load_settings
from habla_ml_tests.defs.conftest import FULL_EVALUATION, MONDAY, ROOT, TUESDAY, DagsterDeployment
from habla_ml_tests.testing.spoken_words import (
    SPOKEN_WORD,
    collect_spoken_texts,
    find_texts,
    insert_spoken_word,
    read_dagster_home,
)

ENROLLED_NAME = "Hermenegilda"


@pytest.fixture
def tree(tree: dict) -> dict:
    """Return a profile with enrolled people and tables, and with bounds that put rows into every table of examples."""
    return {
        **tree,
        "evaluation": {**tree["evaluation"], **FULL_EVALUATION},
        "corpus": {
            "conventions": str(ROOT / "configs" / "conventions" / "orthographic-v3.yaml"),
            "speakers": "people.yaml",
            "fastest_chars_per_s": 30.0,
        },
        "quality": {"fewest_segments": 3, "silent_below_dbfs": -30.0, "most_other_language_share": 0.5},
        "annotation": {"tables": ["shifted/words.csv", "headless/words.csv"], "most_disagreement": 0.0},
        "consent": {"registry": "consents.yaml"},
    }


@pytest.fixture
def spoken_deployment(tmp_path: Path, two_days: Path, tree: dict, recipe: dict) -> Iterator[DagsterDeployment]:
    """Return a deployment with an instance on disk and the word in every text."""
    copytree(two_days, tmp_path, dirs_exist_ok=True)
    for session in sorted((tmp_path / "recordings").iterdir()):
        insert_spoken_word(session)
        _break_rules(session)
    people = [{"name": ENROLLED_NAME, "role": "student", "labels": [ENROLLED_NAME]}]
    (tmp_path / "people.yaml").write_text(yaml.safe_dump({"people": people}))
    waiting = {"contributor": "c-17", "segments": ["none"], "speakers": [{"label": "Another pupil"}]}
    (tmp_path / "consents.yaml").write_text(yaml.safe_dump({"contributors": [waiting]}))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    _write_tables(tmp_path)
    (tmp_path / "configs").mkdir()
    profile = tmp_path / "configs" / "test.yaml"
    profile.write_text(yaml.safe_dump(tree))
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text((ROOT / "dagster_home" / "dagster.yaml").read_text())
    settings = load_settings(profile, {})
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield DagsterDeployment(tmp_path, settings, build_definitions(settings), instance)


def _break_rules(session: Path) -> None:
    """Make one corrected text English, let one break rules and one be long, and name two speakers."""
    wrong = {0: f"What is the {SPOKEN_WORD} of this town?", 1: f"¿Tienes 3 {SPOKEN_WORD} ", 2: f"{SPOKEN_WORD} " * 20}
    for path in session.glob("*.json"):
        body = json.loads(path.read_text("utf-8"))
        for at, entry in enumerate(body.get("segments", ()) if isinstance(body, dict) else ()):
            if path.name == "corrected_ground_truth.json" and entry.get("transcript"):
                entry["transcript"] = wrong.get(at, entry["transcript"])
            if path.name == "metadata.json" and at in (1, 3):
                entry["speaker"] = ENROLLED_NAME
        path.write_text(json.dumps(body), "utf-8")


def _write_tables(folder: Path) -> None:
    """Write a table with cells in wrong columns, and one without a header."""
    rows = [
        ["audio_path", "transcript", "status", "annotated_at"],
        [f"El {SPOKEN_WORD} está aquí.", "clip.wav", "", ""],
        ["clip.wav", "Hola.", f"Pues {SPOKEN_WORD}", ""],
        ["clip.wav", "Hola.", "", f"Ayer {SPOKEN_WORD}"],
    ]
    for name, lines in (("shifted", rows), ("headless", rows[1:])):
        (folder / name).mkdir()
        with (folder / name / "words.csv").open("w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows(lines)


def _add_second_texts(deployment: DagsterDeployment) -> None:
    lake = deployment.lake()
    log = load_events(lake, MONDAY)
    assert log is not None
    events = [
        each.__class__(**{**vars(each), "person": "Eva", "text": f"{each.text} vale", "created_at": at})
        for each in read_events(lake, log)
        if each.status != "unusable"
        for at in (each.created_at - timedelta(days=1),)
    ]
    append_events(lake, MONDAY, events, {})


def _materialise_with_checks(deployment: DagsterDeployment, *assets: str, partition: str | None = None) -> None:
    """Materialise assets with their checks; a failed check may block the rest."""
    dg.materialize(
        [*(deployment.definitions.assets or ()), *(deployment.definitions.asset_checks or ())],
        selection=dg.AssetSelection.assets(*assets),
        instance=deployment.instance,
        partition_key=partition,
        resources=dict(deployment.definitions.resources or {}),
        raise_on_error=False,
    )


def _materialise_corpus(deployment: DagsterDeployment) -> None:
    for day in (MONDAY, TUESDAY):
        deployment.run("ingest_day", day)
    _add_second_texts(deployment)
    _materialise_with_checks(deployment, "annotated_corpus", partition=MONDAY)
    for asset in ("splits", "corpus_report", "review_queue"):
        _materialise_with_checks(deployment, asset)
        assert deployment.metadata(asset)


@pytest.mark.slow
def test_no_text_of_the_corpus_is_in_dagsters_storage(spoken_deployment: DagsterDeployment) -> None:
    _materialise_corpus(spoken_deployment)
    shown = spoken_deployment.metadata("annotated_corpus", MONDAY)
    assert shown["violating segments"] != "*none*"
    assert shown["unusable segments"] != "*none*"
    assert "row 2" in shown["skipped table rows"]
    assert spoken_deployment.metadata("splits")["shared sentences"] != "*none*"
    assert spoken_deployment.metadata("review_queue")["sent back"] > 0
    spoken = collect_spoken_texts(spoken_deployment.lake())
    assert sum(SPOKEN_WORD in each for each in spoken) > 40
    home = spoken_deployment.folder / "home"
    assert find_texts(read_dagster_home(home), [SPOKEN_WORD, SPOKEN_WORD.capitalize(), *spoken]) == []
    assert find_texts(read_dagster_home(home), [ENROLLED_NAME]) == []


@pytest.mark.long
@pytest.mark.parametrize("place", ["metadata", "log", "print", "error", "tag", "description"])
def test_the_search_finds_a_sentence_in_every_place(tmp_path: Path, place: str) -> None:
    sentence = f"¿Y la señora {SPOKEN_WORD}?"

    @dg.asset(description=sentence if place == "description" else None)
    def spoken_asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        if place == "log":
            context.log.info(sentence)
        if place == "print":
            print(sentence)
        if place == "error":
            raise ValueError(sentence)
        return dg.MaterializeResult(metadata={"text": sentence} if place == "metadata" else {})

    with dg.DagsterInstance.from_config(_create_dagster_home(tmp_path)) as instance:
        tags = {"text": sentence} if place == "tag" else {}
        dg.materialize([spoken_asset], instance=instance, tags=tags, raise_on_error=False)
    assert find_texts(read_dagster_home(tmp_path / "home"), [sentence])
    assert find_texts(read_dagster_home(tmp_path / "home"), ["a sentence that is nowhere"]) == []


def _create_dagster_home(folder: Path) -> str:
    (folder / "home").mkdir()
    (folder / "home" / "dagster.yaml").write_text((ROOT / "dagster_home" / "dagster.yaml").read_text())
    return str(folder / "home")
