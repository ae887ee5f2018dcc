"""What changed conventions would do is known before anything is rewritten."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from habla_ml.annotation.sources import collect_events
from habla_ml.cli.main import app
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.conventions_diff import diff_conventions, format_diff, mark_changed_words
from habla_ml_tests.testing.corrected_days import CONVENTIONS_V3, MONDAY, TUESDAY, B, create_annotated_lake
from habla_ml_tests.testing.habla_sessions import NOW, V1, V2, HablaWorkspace, write_corrections, write_session

CONVENTIONS_V1, CONVENTIONS_V2 = load_conventions(V1), load_conventions(V2)
TYPED = {1: "Eh, el lunes.", 2: "El martes.", 3: "Mmm", 4: "Hola [laughter]", 5: "Que?"}


@pytest.fixture
def workspace(tmp_path: Path) -> HablaWorkspace:
    return create_annotated_lake(tmp_path, TYPED, "Pues... sí.")


def test_changed_usable_and_unusable_segments_are_counted_over_all_days(workspace: HablaWorkspace) -> None:
    found = diff_conventions(workspace.lake, CONVENTIONS_V1, CONVENTIONS_V3, workspace.settings.corpus)
    assert (found.first, found.second) == ("orthographic-v1", "orthographic-v3")
    assert (found.days, found.segments) == (2, 6)
    assert found.changed == 3  # "Eh, el lunes.", "Mmm" and "Pues... sí."
    assert found.become_usable == 1  # [laughter] is a marker of version 3
    assert found.become_unusable == 1  # of "Mmm" nothing is left
    assert (found.violations_first, found.violations_second) == ({}, {"question without ¿": 1})
    assert [(each.text, each.before, each.after, each.problem_after) for each in found.examples] == [
        ("Eh, el lunes.", "Eh, el lunes.", "el lunes.", None),
        ("Mmm", "Mmm", "", "only markers"),
        ("Hola [laughter]", "Hola", "Hola", None),
        ("Pues... sí.", "Pues… sí.", "Pues sí.", None),
    ]


def test_the_diff_reads_no_audio_and_writes_nothing(workspace: HablaWorkspace) -> None:
    def files() -> set[tuple[str, int]]:
        return {(str(each), each.stat().st_mtime_ns) for each in (workspace.root / "lake").rglob("*") if each.is_file()}

    for day in (MONDAY, TUESDAY):
        pointer = workspace.lake.read_pointer(f"recordings/{day}")
        assert pointer is not None
        audio = pointer.value["parquet"]
        (workspace.root / "lake" / "objects" / audio[:2] / audio).unlink()
    before = files()
    diff_conventions(workspace.lake, CONVENTIONS_V1, CONVENTIONS_V2, workspace.settings.corpus)
    assert files() == before


def test_equal_conventions_have_no_differences(workspace: HablaWorkspace) -> None:
    found = diff_conventions(workspace.lake, CONVENTIONS_V2, CONVENTIONS_V2, workspace.settings.corpus)
    assert (found.segments, found.changed, found.become_usable, found.become_unusable, found.examples) == (
        (6, 0, 0, 0, ())
    )


def test_the_sample_of_examples_is_reproducible(workspace: HablaWorkspace) -> None:
    every = diff_conventions(workspace.lake, CONVENTIONS_V1, CONVENTIONS_V3, workspace.settings.corpus).examples
    two = diff_conventions(workspace.lake, CONVENTIONS_V1, CONVENTIONS_V3, workspace.settings.corpus, most=2).examples
    smallest = sorted(each.segment_id for each in every)[:2]
    assert sorted(each.segment_id for each in two) == smallest
    assert set(two) <= set(every)


def test_removed_and_added_words_are_marked() -> None:
    assert mark_changed_words("Eh… el  lunes", "el martes") == "[-Eh…-] el [-lunes-] {+martes+}"


def test_the_printed_diff_marks_words_and_neutralises_terminal_escapes(workspace: HablaWorkspace) -> None:
    write_corrections(write_session(workspace.recordings, B, 1), {1: "Pues\x1b[2J... {sí}."}, at="2026-12-01T00:00:00Z")
    collect_events(workspace.lake, TUESDAY, workspace.settings, NOW)
    lines = format_diff(diff_conventions(workspace.lake, CONVENTIONS_V1, CONVENTIONS_V2, workspace.settings.corpus))
    assert lines[0] == "orthographic-v1 → orthographic-v2: 6 annotated segments on 2 days"
    assert any(line.endswith("segment_001.wav: [-Eh,-] el lunes.") for line in lines)
    assert "  usable → only markers" in lines
    assert "\x1b" not in "".join(lines)
    assert any("{sí}" in line for line in lines)


def test_the_command_prints_the_comparison(workspace: HablaWorkspace, tmp_path: Path) -> None:
    profile = tmp_path / "configs" / "mine.yaml"
    profile.parent.mkdir()
    settings = workspace.settings.model_dump(mode="json", exclude={"profile"})
    profile.write_text(yaml.safe_dump(settings), "utf-8")
    done = CliRunner().invoke(app, ["conventions", "diff", str(V1), str(V2), "-p", str(profile)])
    assert done.exit_code == 0, done.output
    assert "orthographic-v1 → orthographic-v2: 6 annotated segments on 2 days" in done.output
    assert "{+Pues+} sí." in done.output
