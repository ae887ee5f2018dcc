from pathlib import Path

import pytest
import yaml

from habla_ml.errors import SettingsError
from habla_ml.settings import Settings, load_settings, save_settings
from habla_ml.settings.yaml_files import read_mapping


@pytest.fixture
def tree(tmp_path: Path) -> dict:
    for folder in ("configs", "recordings"):
        (tmp_path / folder).mkdir()
    (tmp_path / "conventions.yaml").write_text("rules: []")
    (tmp_path / "recipe.yaml").write_text("name: x")
    return {
        "work_folder": "work",
        "lake": {"url": "lake"},
        "recordings": {"folder": "recordings"},
        "corpus": {"conventions": "conventions.yaml"},
        "training": {"recipe": "recipe.yaml"},
        "release": {"store": {"url": "cdn"}},
    }


def load(tmp_path: Path, tree: dict, **environment: str) -> Settings:
    path = tmp_path / "configs" / "mine.yaml"
    path.write_text(yaml.safe_dump(tree))
    return load_settings(path, environment)


def test_relative_paths_start_at_the_folder_that_contains_configs(tmp_path, tree):
    settings = load(tmp_path, tree)
    assert settings.recordings.folder == tmp_path / "recordings"
    assert settings.lake.url == str(tmp_path / "lake")
    assert settings.profile == "mine"


def test_an_s3_url_is_not_changed(tmp_path, tree):
    tree["lake"]["url"] = "s3://bucket/prefix"
    assert load(tmp_path, tree).lake.url == "s3://bucket/prefix"


def test_an_unknown_key_names_the_file_the_key_and_the_keys_that_exist(tmp_path, tree):
    tree["release"]["chanel"] = "beta"
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, tree)
    assert "mine.yaml" in str(refused.value)
    assert "release.chanel" in str(refused.value)
    assert (
        "channel, hub, keys_folder, licence, minimum_app_version, model_id, public_url, rollout_percent, signature_cron, "
        in str(refused.value)
    )


def test_an_error_of_type_has_the_value_and_the_expected_type(tmp_path, tree):
    tree["automation"] = {"growth_hours": "ten"}
    with pytest.raises(SettingsError, match=r"automation\.growth_hours: is 'ten': .*valid number"):
        load(tmp_path, tree)


def test_an_error_names_a_missing_file(tmp_path, tree):
    tree["training"]["recipe"] = "nowhere.yaml"
    with pytest.raises(SettingsError, match=r"training\.recipe.*nowhere\.yaml does not exist"):
        load(tmp_path, tree)


def test_settings_load_without_the_recordings_folder_and_report_it(tmp_path, tree):
    assert load(tmp_path, tree).recordings.folder_problem is None
    tree["recordings"]["folder"] = "nowhere"
    problem = load(tmp_path, tree).recordings.folder_problem
    assert problem == f"the recordings folder {tmp_path / 'nowhere'} does not exist; create it or set recordings.folder"


def test_a_printed_command_has_the_profile_option_unless_the_profile_is_the_default(tmp_path, tree):
    path = tmp_path / "configs" / "mine.yaml"
    assert load(tmp_path, tree).command("rollback") == f"habla-ml rollback -p {path}"
    for name in ("mine", "local"):
        path.with_stem(name).write_text(path.read_text())
    environment = {"HABLA_CONFIGS": str(path.parent)}
    commands = [
        load_settings(profile, environment).command("rollback", "--to", "v 1") for profile in ("mine", path, "local")
    ]
    assert commands == [*["habla-ml rollback --to 'v 1' -p mine"] * 2, "habla-ml rollback --to 'v 1'"]


def test_all_faults_are_reported_at_once(tmp_path, tree):
    tree["time_zone"] = "Europe/Sevilla"
    del tree["lake"]
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, tree)
    assert "not an IANA time zone" in str(refused.value)
    assert "lake: is missing" in str(refused.value)


def test_variables_with_secrets_are_no_keys_whatever_they_are_called(tmp_path, tree):
    email = {"host": "mail.example.org", "sender": "a@example.org", "recipients": ["b@example.org"]}
    tree["monitoring"] = {"alerts": {"webhook_variable": "HABLA_ALERT_WEBHOOK", "email": email}}
    secrets = {"HABLA_ALERT_WEBHOOK": "https://example.org/x", "HABLA_SMTP_PASSWORD": "a: [b"}
    secrets |= {"HABLA_RELEASE_KEY": "-----BEGIN PRIVATE KEY-----", "HABLA_ROOT_PASSPHRASE": "a: [b"}
    assert load(tmp_path, tree, **secrets).monitoring.alerts.webhook_variable == "HABLA_ALERT_WEBHOOK"
    del tree["monitoring"]["alerts"]["webhook_variable"]
    key = {"HABLA_MONITORING__ALERTS__WEBHOOK_VARIABLE": "HABLA_ALERT_WEBHOOK"}
    assert load(tmp_path, tree, **secrets, **key).monitoring.alerts.webhook_variable == "HABLA_ALERT_WEBHOOK"
    with pytest.raises(SettingsError, match="HABLA_ALERT_WEBHOOK: key alert_webhook: is unknown"):
        load(tmp_path, tree, **secrets)


def test_environment_variables_override_the_file_and_errors_name_them(tmp_path, tree):
    assert load(tmp_path, tree, HABLA_RELEASE__CHANNEL="beta").release.channel == "beta"
    assert load(tmp_path, tree, HABLA_AUTOMATION__GROWTH_HOURS="2.5").automation.growth_hours == 2.5
    with pytest.raises(SettingsError, match="environment variable HABLA_AUTOMATION__GROWTH_HOURS"):
        load(tmp_path, tree, HABLA_AUTOMATION__GROWTH_HOURS="-1")


def test_a_variable_without_a_key_is_refused(tmp_path, tree):
    with pytest.raises(SettingsError, match="HABLA_RELEASE__CHANEL"):
        load(tmp_path, tree, HABLA_RELEASE__CHANEL="beta")


def test_the_error_of_a_missing_profile_lists_the_existing_ones(tmp_path, tree):
    load(tmp_path, tree)
    with pytest.raises(SettingsError, match=r"profiles in its folder: mine\.yaml$"):
        load_settings("other", {"HABLA_CONFIGS": str(tmp_path / "configs")})


def test_the_error_of_broken_yaml_names_the_file(tmp_path):
    (tmp_path / "broken.yaml").write_text("lake: [")
    with pytest.raises(SettingsError, match=r"broken\.yaml cannot be read as YAML"):
        load_settings(tmp_path / "broken.yaml", {})


def test_saved_settings_are_equal_when_loaded(tmp_path, tree):
    settings = load(tmp_path, tree, HABLA_RELEASE__CHANNEL="beta")
    assert load_settings(save_settings(settings, tmp_path / "saved"), {}) == settings


@pytest.mark.parametrize("profile", ["demo", "local", "production"])
def test_every_shipped_profile_has_only_known_keys(profile):
    try:
        load_settings(Path("configs") / f"{profile}.yaml", {})
    except SettingsError as error:
        for fault in str(error).splitlines():
            assert "does not exist" in fault


@pytest.mark.parametrize("profile", ["demo", "local", "production"])
def test_every_shipped_profile_uses_the_newest_orthographic_conventions(profile):
    newest = max(
        Path("configs/conventions").glob("orthographic-v*.yaml"),
        key=lambda path: int(path.stem.rpartition("v")[2]),
    )
    tree = yaml.safe_load((Path("configs") / f"{profile}.yaml").read_text("utf-8"))
    assert tree["corpus"]["conventions"] == str(newest)


@pytest.mark.parametrize("key", ["replay", "first_stage"])
def test_training_speech_must_not_be_the_out_of_domain_set(tmp_path, tree, key):
    tree["training"][key] = tree["recordings"]["folder"]
    tree["evaluation"] = {"out_of_domain": tree["recordings"]["folder"]}
    message = rf"mine\.yaml: training\.{key} and evaluation\.out_of_domain are both .* set two different tables"
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, tree)


def test_general_speech_is_a_path_or_sources(tmp_path, tree):
    tree["training"]["replay"] = "recordings"
    tree["evaluation"] = {"out_of_domain": {"path": "configs", "kind": "hf", "licence": "CC0", "origin": "here"}}
    settings = load(tmp_path, tree)
    [replay], [measured] = settings.training.replay, settings.evaluation.out_of_domain
    assert (replay.path, replay.kind) == (tmp_path / "recordings", "table")
    assert (measured.path, measured.kind) == (tmp_path / "configs", "hf")
    assert load_settings(save_settings(settings, tmp_path / "saved"), {}) == settings
    overlaid = load(tmp_path, tree, HABLA_TRAINING__REPLAY="configs", HABLA_EVALUATION__OUT_OF_DOMAIN="recordings")
    assert overlaid.training.replay[0].path == tmp_path / "configs"
    tree["training"]["replay"] = ["recordings", {"path": "configs", "kind": "common_voice", "licence": "CC0"}]
    del tree["evaluation"]
    with pytest.raises(SettingsError, match=r"replay\.1: origin is missing; common_voice speech is used only with"):
        load(tmp_path, tree)


def test_an_unknown_key_of_a_source_lists_the_keys_of_a_source(tmp_path, tree):
    tree["training"]["replay"] = [{"path": "recordings", "hours": 3}]
    with pytest.raises(SettingsError, match=r"replay\.0\.hours: is unknown; keys here are accents, audio_column"):
        load(tmp_path, tree)


@pytest.mark.parametrize("day", ["2026-02-16", "'2026-02-16'", '"2026-02-16"'])
def test_a_day_needs_no_quotes_in_a_file_and_a_variable(tmp_path, tree, day):
    path = tmp_path / "configs" / "mine.yaml"
    path.write_text(yaml.safe_dump(tree).replace("folder: recordings\n", f"folder: recordings\n  first_day: {day}\n"))
    assert load_settings(path, {}).recordings.first_day == "2026-02-16"
    variables = {"HABLA_RECORDINGS__FIRST_DAY": day}
    assert load(tmp_path, tree, **variables).recordings.first_day == "2026-02-16"
    saved = save_settings(load(tmp_path, tree, **variables), tmp_path)
    assert load_settings(saved, {}).recordings.first_day == "2026-02-16"


@pytest.mark.parametrize(
    ("day", "shown"),
    [
        ("2026-02-30", "'2026-02-30'"),
        ("16/02/2026", "'16/02/2026'"),
        ("20260216", "20260216"),
        ("2026-02-16 10:00:00", "2026-02-16T10:00:00"),
        ("soon", "'soon'"),
    ],
)
def test_a_wrong_day_is_an_error_with_its_key_its_value_and_an_example(tmp_path, tree, day, shown):
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, tree, HABLA_RECORDINGS__FIRST_DAY=day)
    expected = f"key recordings.first_day: is {shown}: expected a day of the calendar like 2026-02-16"
    assert expected in str(refused.value)
    assert "HABLA_RECORDINGS__FIRST_DAY" in str(refused.value)


def test_text_that_yaml_1_1_reads_as_something_else_stays_text(tmp_path, tree):
    variables = {
        "HABLA_RELEASE__MODEL_ID": "no",
        "HABLA_RELEASE__LICENCE": "12:30:00",
        "HABLA_RECORDINGS__KEEP_RAW_STREAM": "on",
        "HABLA_SPLITS__SEED": "010",
    }
    settings = load(tmp_path, tree, **variables)
    assert (settings.release.model_id, settings.release.licence) == ("no", "12:30:00")
    assert settings.recordings.keep_raw_stream is True
    assert settings.splits.seed == 10
    with pytest.raises(SettingsError, match=r"release\.licence: is 7: .* put it in quotes"):
        load(tmp_path, tree, HABLA_RELEASE__LICENCE="7")


def test_a_key_given_twice_is_refused_with_both_lines(tmp_path, tree):
    path = tmp_path / "configs" / "mine.yaml"
    path.write_text(yaml.safe_dump(tree) + "training:\n  recipe: recipe.yaml\n")
    with pytest.raises(SettingsError, match=r"mine\.yaml: lines \d+ and \d+ give the same key"):
        load_settings(path, {})


def test_a_merged_mapping_can_replace_a_key(tmp_path):
    path = tmp_path / "merged.yaml"
    path.write_text("a: &a {x: 1}\nb: {c: {<<: *a, x: 2, y: 3}}\nd: {<<: *a, x: 4}\n")
    assert read_mapping(path, "file") == {"a": {"x": 1}, "b": {"c": {"x": 2, "y": 3}}, "d": {"x": 4}}


def test_a_variable_that_is_not_yaml_is_refused_with_its_name(tmp_path, tree):
    with pytest.raises(SettingsError, match="HABLA_LAKE__URL: its value is not YAML"):
        load(tmp_path, tree, HABLA_LAKE__URL="[unclosed")
