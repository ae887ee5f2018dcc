"""One typed tree of settings: `configs/<profile>.yaml`, then `HABLA_…` environment variables.

An environment variable names a key by its path, two underscores between levels:
`HABLA_RELEASE__CHANNEL=beta`. Relative paths are read from the folder that holds `configs/`. Nothing else in
the project reads the environment, except credentials, which boto3 finds by itself and which never enter here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from habla_ml.errors import SettingsError

_PREFIX = "HABLA_"
_NOT_KEYS = {"HABLA_PROFILE", "HABLA_CONFIGS"}


def _below_root(path: Path, info: ValidationInfo) -> Path:
    root = (info.context or {}).get("root", Path.cwd())
    return Path(root) / path.expanduser()


def _existing(path: Path, info: ValidationInfo) -> Path:
    path = _below_root(path, info)
    if not path.exists():
        raise ValueError(f"{path} does not exist; create it or name another one")
    return path


def _located(url: str, info: ValidationInfo) -> str:
    return url if "://" in url else str(_below_root(Path(url), info))


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{name!r} is no IANA time zone; an example is Europe/Madrid") from None
    return name


def _cron(expression: str) -> str:
    if len(expression.split()) != 5:
        raise ValueError(f"{expression!r} is no cron expression of five fields; an example is '0 3 1 */3 *'")
    return expression


LocalPath = Annotated[Path, AfterValidator(_below_root)]
ExistingPath = Annotated[Path, AfterValidator(_existing)]
Location = Annotated[str, AfterValidator(_located)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Cron = Annotated[str, AfterValidator(_cron)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(_Section):
    """A place for bytes: a folder, or `s3://bucket/prefix` on AWS or any endpoint with conditional writes."""

    url: Location
    endpoint_url: str | None = None
    region: str | None = None


class RecordingsSettings(_Section):
    """Habla's recordings and when a session counts as finished."""

    folder: ExistingPath
    first_day: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] = "2026-01-01"
    crashed_after_hours: Annotated[float, Field(gt=0)] = 12.0
    longest_segment_s: Annotated[float, Field(gt=0, le=30)] = 30.0


class AnnotationSettings(_Section):
    """Tables of transcripts from outside (`fine_tune_dataset.csv` or `.json`)."""

    tables: tuple[ExistingPath, ...] = ()


class CorpusSettings(_Section):
    """Which conventions apply, and the bounds of a usable segment."""

    conventions: ExistingPath
    longest_transcript_chars: Annotated[int, Field(gt=0)] = 300
    slowest_chars_per_s: Annotated[float, Field(ge=0)] = 0.5
    fastest_chars_per_s: Annotated[float, Field(gt=0)] = 35.0


class SplitSettings(_Section):
    """Shares of hours by split; train gets the rest. The seed decides ties only."""

    validation: Share = 0.1
    test: Share = 0.1
    seed: int = 20260216


class TrainingSettings(_Section):
    """The recipe of the next model version, and general speech that it hears beside the classroom's.

    `replay` is a table of transcribed clips (`fine_tune_dataset.csv` or `.json`) of standard Spanish: what is heard
    again is not forgotten. It must not be the out-of-domain set, which measures forgetting.
    """

    recipe: ExistingPath
    replay: ExistingPath | None = None


class EvaluationSettings(_Section):
    """How models are decoded and compared: as Habla serves them."""

    beam_size: Annotated[int, Field(ge=1)] = 5
    batch_size: Annotated[int, Field(ge=1)] | None = None
    cpu_threads: Annotated[int, Field(ge=0)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    quiet_below_dbfs: float = -35.0
    bootstrap_draws: Annotated[int, Field(ge=100)] = 10_000
    seed: int = 20260216
    smallest_slice_sessions: Annotated[int, Field(ge=1)] = 3
    smallest_slice_words: Annotated[int, Field(ge=1)] = 100
    out_of_domain: ExistingPath | None = None


class PromotionSettings(_Section):
    """The plan's rule: bounds on relative improvement and on forgetting."""

    deploy_above_relative: Share = 0.30
    collect_below_relative: Share = 0.20
    out_of_domain_loss_points: Annotated[float, Field(ge=0)] = 2.0
    fewest_test_sessions: Annotated[int, Field(ge=1)] = 5


class ExportSettings(_Section):
    """Quantisation for Habla, and whether the phone's archive is made."""

    ctranslate2_quantisation: str = "int8"
    coreml_timeout_s: Annotated[float, Field(gt=0)] = 3600.0


class ReleaseSettings(_Section):
    """Where releases go, how the phone reaches them, and the channel whose pointer moves."""

    store: StoreSettings
    public_url: str | None = None
    model_id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")] = "habla-andalusian"
    licence: str = "MIT"
    channel: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")] = "stable"


class AutomationSettings(_Section):
    """When the pipeline acts by itself."""

    growth_hours: Annotated[float, Field(gt=0)] = 10.0
    quarterly_cron: Cron = "0 3 1 */3 *"
    sensor_interval_s: Annotated[int, Field(ge=1)] = 60


class Settings(_Section):
    """Everything a deployment decides."""

    profile: str
    time_zone: TimeZone = "Europe/Madrid"
    work_folder: LocalPath
    lake: StoreSettings
    recordings: RecordingsSettings
    annotation: AnnotationSettings = AnnotationSettings()
    corpus: CorpusSettings
    splits: SplitSettings = SplitSettings()
    training: TrainingSettings
    evaluation: EvaluationSettings = EvaluationSettings()
    promotion: PromotionSettings = PromotionSettings()
    export: ExportSettings = ExportSettings()
    release: ReleaseSettings
    automation: AutomationSettings = AutomationSettings()

    @model_validator(mode="after")
    def _forgetting_is_measured_on_other_speech(self) -> Self:
        if self.training.replay is not None and self.training.replay == self.evaluation.out_of_domain:
            raise ValueError(
                f"training.replay and evaluation.out_of_domain are both {self.training.replay}; what was trained on "
                "cannot say what was forgotten: name two different tables"
            )
        return self

    @property
    def zone(self) -> ZoneInfo:
        """The zone of Habla's naive times, whose day is the partition's day."""
        return ZoneInfo(self.time_zone)


def configs_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """`HABLA_CONFIGS`, or `configs/` below the working folder."""
    return Path(environment.get("HABLA_CONFIGS", "configs")).resolve()


def load_settings(profile: str | Path | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read a profile (its name, or a path to a YAML file) and overlay the environment.

    Raises `SettingsError` that names the file, the key and what was expected, for every fault at once.
    """
    chosen = profile or environment.get("HABLA_PROFILE", "local")
    path = Path(chosen)
    if path.suffix not in {".yaml", ".yml"}:
        path = configs_folder(environment) / f"{chosen}.yaml"
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        known = sorted(each.stem for each in path.parent.glob("*.yaml"))
        raise SettingsError(f"{path} does not exist; profiles found beside it: {known or 'none'}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(tree, dict):
        raise SettingsError(f"{path} holds {type(tree).__name__}, expected keys and values")
    if "profile" in tree:
        raise SettingsError(f"{path}: key profile: is the file's own name; remove the line")
    origins = _overlay(tree, environment)
    try:
        return Settings.model_validate(
            {"profile": path.stem, **tree}, context={"root": path.resolve().parent.parent}
        )
    except ValidationError as error:
        raise SettingsError(_explain(error, path, origins)) from None


def _overlay(tree: dict[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """Write `HABLA_A__B=value` into `tree`; returns which variable set which dotted key."""
    origins = {}
    for name, text in sorted(environment.items()):
        if not name.startswith(_PREFIX) or name in _NOT_KEYS:
            continue
        keys = name.removeprefix(_PREFIX).lower().split("__")
        node = tree
        for key in keys[:-1]:
            below = node.setdefault(key, {})
            if not isinstance(below, dict):
                raise SettingsError(f"environment variable {name}: {key} is a value, not a section")
            node = below
        node[keys[-1]] = yaml.safe_load(text)
        origins[".".join(keys)] = name
    return origins


def _explain(error: ValidationError, path: Path, origins: Mapping[str, str]) -> str:
    lines = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        where = f"environment variable {origins[key]}" if key in origins else str(path)
        if fault["type"] == "extra_forbidden":
            expectation = f"is unknown; keys here are {', '.join(_keys_beside(fault['loc']))}"
        elif fault["type"] == "missing":
            expectation = "is missing and has no default"
        else:
            expectation = f"is {fault['input']!r}: {fault['msg'].removeprefix('Value error, ')}"
        lines.append(f"{where}: key {key}: {expectation}")
    return "\n".join(lines)


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """The known keys of the section in which `location` stands."""
    section: type[BaseModel] = Settings
    for part in location[:-1]:
        below = section.model_fields[str(part)].annotation
        if not (isinstance(below, type) and issubclass(below, BaseModel)):
            break
        section = below
    return sorted(section.model_fields)


def save_settings(settings: Settings, folder: Path) -> Path:
    """Write the resolved tree as a profile file that `load_settings` reads back; named by its content.

    Child processes are given this file, so that they see exactly what their parent saw.
    """
    body = yaml.safe_dump(settings.model_dump(mode="json", exclude={"profile"}), sort_keys=True)
    path = folder / hashlib.sha256(body.encode()).hexdigest()[:16] / f"{settings.profile}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body, "utf-8")
    return path
