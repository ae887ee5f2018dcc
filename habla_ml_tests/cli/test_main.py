import io
import json
import sys
from pathlib import Path

import pytest
import yaml

from habla_ml.cli.context import print_json, print_labelled, print_line
from habla_ml.cli.doctor import run_checks
from habla_ml.monitoring.finding import Finding
from habla_ml_tests.testing.command_line import run_habla_ml, start_habla_ml

ROOT = Path(__file__).resolve().parents[2]
CONVENTIONS_FILE = ROOT / "configs" / "conventions" / "orthographic-v1.yaml"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    for folder in ("configs", "recordings"):
        (tmp_path / folder).mkdir()
    path = tmp_path / "configs" / "mine.yaml"
    tree = {
        "work_folder": "work",
        "lake": {"url": "lake"},
        "recordings": {"folder": "recordings"},
        "corpus": {"conventions": str(CONVENTIONS_FILE)},
        "training": {"recipe": str(ROOT / "configs" / "recipes" / "demo-full.yaml")},
        "release": {"store": {"url": "cdn"}},
    }
    path.write_text(yaml.safe_dump(tree))
    return path


def test_the_doctor_lists_what_is_installed_configured_and_missing_with_the_next_step(profile):
    found = run_habla_ml("doctor", "-p", str(profile), DAGSTER_HOME="")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "1.13.27" in found.stdout
    assert "0 session folders" in found.stdout
    assert "point recordings.folder at data/audio/recordings" in found.stdout
    assert "has conditional writes" in found.stdout
    assert "habla-ml dev" in found.stdout


def find_check(profile: Path, subject: str) -> Finding:
    (found,) = [each for each in run_checks(str(profile)) if each.subject == subject]
    return found


def test_the_doctor_reports_alerts_without_a_channel_and_without_their_secret(profile, monkeypatch):
    assert "set monitoring.alerts" in find_check(profile, "alerts").next_step
    monkeypatch.setenv("HABLA_MONITORING__ALERTS__WEBHOOK_VARIABLE", "HABLA_ALERT_WEBHOOK")
    found = find_check(profile, "alerts")
    assert (found.health, found.found) == ("wrong", "by webhook, but HABLA_ALERT_WEBHOOK is not set here")
    monkeypatch.setenv("HABLA_ALERT_WEBHOOK", "https://example.org/secret")
    assert find_check(profile, "alerts") == Finding("alerts", "ok", "by webhook")


def test_the_doctor_compares_the_number_of_folders_with_the_limit_of_habla(profile, monkeypatch):
    for number in range(4):
        (profile.parent.parent / "recordings" / f"{number}_20260216_09000{number}").mkdir()
    assert find_check(profile, "recordings").health == "ok"
    monkeypatch.setenv("HABLA_RECORDINGS__MAX_RECORDINGS", "2")
    assert "more than recordings.max_recordings (2)" in find_check(profile, "recordings").found


def test_the_doctor_lists_skipped_sessions_with_what_to_do(profile):
    (profile.parent.parent / "recordings" / "1_19700101_000100").mkdir()
    found = find_check(profile, "skipped session")
    assert found.found == "1_19700101_000100 is dated 1970-01-01: the recorder's clock was reset"
    assert found.next_step == "rename the folder to the time of the lesson"


def test_the_doctor_names_the_fault_of_a_broken_profile_and_exits_with_1(profile):
    profile.write_text(profile.read_text() + "colour: blue\n")
    found = run_habla_ml("doctor", "-p", str(profile))
    assert found.returncode == 1
    assert "key colour: is unknown" in found.stdout


@pytest.mark.long
def test_an_error_is_one_message_without_a_traceback(profile):
    found = start_habla_ml("rollback", "-p", str(profile))
    assert found.returncode == 1
    assert "has no release yet" in found.stderr.replace("\n", " ")
    assert "Traceback" not in found.stderr


def test_an_error_message_is_printed_as_it_is(tmp_path):
    path = tmp_path / "[bold]" / ":smile:" / ("long" * 30) / "mine.yaml"
    found = run_habla_ml("review", "-p", str(path), COLUMNS="40")
    assert f"{path} does not exist" in found.stderr


def test_output_has_no_markup_emoji_or_line_breaks(capsys):
    text = f"[risas] [/] :smile: {'/long' * 50}"
    print_line(text)
    print_labelled("skipped", "[x]")
    assert capsys.readouterr().out.splitlines() == [text, "skipped [x]"]


def test_the_doctor_reports_a_missing_recordings_folder(profile):
    (profile.parent.parent / "recordings").rmdir()
    found = run_habla_ml("doctor", "-p", str(profile))
    assert found.returncode == 1
    assert "does not exist" in found.stdout
    assert "create it or set recordings.folder" in found.stdout


def test_the_doctor_reports_a_missing_table(profile):
    unusable = "x" * 300
    found = run_habla_ml("doctor", "-p", str(profile), HABLA_ANNOTATION__TABLES=f"[nowhere.csv, {unusable}]")
    assert found.returncode == 1
    assert "nowhere.csv does not exist" in found.stdout
    assert "File name too long" in found.stdout
    assert "2 to repair" in found.stdout


def test_a_path_that_cannot_be_used_is_one_message_with_the_path(profile, tmp_path):
    (tmp_path / "a file").write_text("x")
    found = run_habla_ml("init", str(tmp_path / "a file" / "project"))
    assert (found.returncode, found.stdout) == (1, "")
    assert f"error {tmp_path / 'a file'}/project" in found.stderr
    assert "Not a directory; check the path" in found.stderr
    found = run_habla_ml("releases", "-p", str(profile), HABLA_CORPUS__CONVENTIONS="x" * 300)
    assert "key corpus.conventions" in found.stderr
    assert "cannot be read (File name too long)" in found.stderr


def test_a_terminal_without_a_letter_ends_no_command(tmp_path):
    found = start_habla_ml("init", str(tmp_path / "escuela ñ"), PYTHONIOENCODING="ascii")
    assert (found.returncode, found.stderr) == (0, "")
    assert "escuela \\xf1" in found.stdout


def test_json_is_whole_on_a_terminal_without_a_letter(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii", write_through=True))
    print_json({"speaker": "Lucía → 😀"})
    assert json.loads(written.getvalue()) == {"speaker": "Lucía → 😀"}


def test_an_empty_profile_variable_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"{tmp_path / 'configs' / 'local.yaml'} does not exist" in run_habla_ml("releases", HABLA_PROFILE="").stderr


def test_the_next_step_of_init_works_in_a_shell_for_a_name_with_a_blank(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "cd 'mi escuela'\n" in run_habla_ml("init", "mi escuela").stdout


def test_printed_commands_have_the_profile_option(profile):
    found = run_habla_ml("doctor", "-p", "mine", HABLA_CONFIGS=str(profile.parent))
    assert "habla-ml label-studio up -p mine" in found.stdout


def test_releases_of_an_empty_channel_are_an_empty_table(profile):
    found = run_habla_ml("releases", "-p", str(profile))
    assert found.returncode == 0
    assert "version" in found.stdout


def test_conventions_are_checked_by_their_test_cases(tmp_path):
    assert "the test cases of all rules pass" in run_habla_ml("conventions", "check", str(CONVENTIONS_FILE)).stdout
    broken = tmp_path / "broken-v1.yaml"
    broken.write_text(CONVENTIONS_FILE.read_text().replace("version: 1", "version: one"))
    found = run_habla_ml("conventions", "check", str(broken))
    assert found.returncode == 1
    assert "broken-v1.yaml" in found.stderr.replace("\n", "")


def test_the_ui_of_a_demo_that_was_not_run_names_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_habla_ml("init")
    found = run_habla_ml("dev", "-p", "demo")
    assert (found.returncode, "run `habla-ml demo` first" in found.stderr) == (1, True)


def test_the_beginning_of_a_snapshot_as_the_ui_shows_it_names_where_the_whole_id_is(profile, tmp_path):
    found = run_habla_ml("export-dataset", str(tmp_path / "out"), "--snapshot", "0123456789abcdef", "-p", str(profile))
    assert (found.returncode, "habla-ml lineage v2" in found.stderr) == (1, True)


def test_a_training_without_a_version_names_the_option(profile):
    found = run_habla_ml("train", "-p", str(profile))
    assert (found.returncode, "give --version, such as v3, or --estimate" in found.stderr) == (2, True)
