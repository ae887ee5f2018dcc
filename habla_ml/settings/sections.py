"""The tree of settings: every key with its type, its bound, its default and what it decides.

Relative paths are read from the folder that holds `configs/`, which `load_settings` passes as the context `root`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)


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
    """Habla's recordings, when a session counts as finished, and whether the browser's stream is archived too."""

    folder: ExistingPath
    first_day: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] = "2026-01-01"
    crashed_after_hours: Annotated[float, Field(gt=0)] = 12.0
    longest_segment_s: Annotated[float, Field(gt=0, le=30)] = 30.0
    keep_raw_stream: bool = False


class LabelStudioSettings(_Section):
    """A Label Studio server: one at `url`, or, without it, the one that `habla-ml label-studio up` starts.

    The token of a server at `url` is never written here: `token_variable` names the environment variable that holds
    it, a legacy token or a personal access token. `folder` holds the embedded server's database and login (default:
    below `work_folder`), `documents` the audio that a server serves as local files (default: below `folder`), and
    `environment` the server's own virtual environment (default: beside ours).
    """

    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+[^\s]*[^/\s]$")] | None = None
    token_variable: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] = "LABEL_STUDIO_TOKEN"  # noqa: S105 (the name of a variable)
    title: Annotated[str, Field(min_length=3, max_length=50)] = "habla_ml"
    port: Annotated[int, Field(ge=1024, le=65_535)] = 8082
    folder: LocalPath | None = None
    documents: LocalPath | None = None
    environment: LocalPath | None = None
    batch_size: Annotated[int, Field(ge=1, le=5_000)] = 500
    page_size: Annotated[int, Field(ge=1, le=1_000)] = 100
    overlap_s: Annotated[float, Field(ge=0)] = 300.0
    patience_s: Annotated[float, Field(ge=0)] = 60.0


class AnnotationSettings(_Section):
    """Tables of transcripts from outside (`fine_tune_dataset.csv` or `.json`), and how far people may differ.

    `most_disagreement` is a share of words: above it a day's check says that its annotators do not agree.
    """

    tables: tuple[ExistingPath, ...] = ()
    most_disagreement: Share = 0.2
    label_studio: LabelStudioSettings = LabelStudioSettings()


class CorpusSettings(_Section):
    """Which conventions apply, who is enrolled (a speaker map), and the bounds of a usable segment."""

    conventions: ExistingPath
    speakers: ExistingPath | None = None
    longest_transcript_chars: Annotated[int, Field(gt=0)] = 300
    slowest_chars_per_s: Annotated[float, Field(ge=0)] = 0.5
    fastest_chars_per_s: Annotated[float, Field(gt=0)] = 35.0


class ConsentSettings(_Section):
    """Who contributed what under which consent: a register (a YAML file), if there is one."""

    registry: ExistingPath | None = None


class SplitSettings(_Section):
    """Shares of hours by split; train gets the rest. The seed decides the order in which groups are dealt.

    Up to `fingerprint_up_to_hours` of corpus, sounds are compared between the splits; 0 leaves that out.
    """

    validation: Share = 0.1
    test: Share = 0.1
    seed: int = 20260216
    fingerprint_up_to_hours: Annotated[float, Field(ge=0)] = 20.0


class QualitySettings(_Section):
    """Bounds of the checks on recordings and corpus, and how much of the flagged speech the corpus report plays.

    A share is of the segments looked at; with fewer than `fewest_segments` nothing is judged.
    """

    fewest_segments: Annotated[int, Field(ge=3)] = 20
    most_without_words_share: Share = 0.25
    most_implausible_rate_share: Share = 0.05
    lowest_length_correlation: Annotated[float, Field(ge=-1, le=1)] = 0.4
    clipped_from_sample_share: Share = 0.001
    most_clipped_share: Share = 0.1
    silent_below_dbfs: Annotated[float, Field(le=0)] = -60.0
    most_silent_share: Share = 0.1
    most_other_language_share: Share = 0.05
    most_mismatched_hours_share: Share = 0.05
    most_hours_lost_share: Share = 0.05
    accepted_snapshot: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    flagged_segments_shown: Annotated[int, Field(ge=0)] = 20
    largest_audio_bytes: Annotated[int, Field(ge=0)] = 2_000_000


class SpeechSource(_Section):
    """Transcribed speech from outside the classroom: a table, a Common Voice TSV or a Hugging Face dataset on disk.

    `licence` and `origin` (an address or a citation) are recorded with every model that heard it; only a table may
    leave them out. The filters go by the columns of Common Voice. `most_hours` takes a sample, always the same.
    """

    path: ExistingPath
    kind: Literal["table", "common_voice", "hf"] = "table"
    licence: str = ""
    origin: str = ""
    fewest_up_votes: Annotated[int, Field(ge=0)] = 0
    most_down_votes: Annotated[int, Field(ge=0)] | None = None
    accents: tuple[str, ...] = ()
    most_hours: Annotated[float, Field(gt=0)] | None = None
    text_column: str | None = None
    audio_column: str = "audio"

    @model_validator(mode="after")
    def _public_speech_says_whose_it_is(self) -> Self:
        for key in ("licence", "origin"):
            if self.kind != "table" and not getattr(self, key).strip():
                raise ValueError(f"{key} is missing; {self.kind} speech is used only with its licence and origin")
        if self.kind == "table" and (self.fewest_up_votes or self.most_down_votes is not None or self.accents):
            raise ValueError("a table has no votes and no accents; remove the filters or name another kind")
        return self


def _listed(value: Any) -> Any:
    """A plain path is a table, and one source stands for a list of one."""
    if value is None:
        return ()
    listed = value if isinstance(value, list | tuple) else [value]
    return tuple({"path": each} if isinstance(each, str | Path) else each for each in listed)


SpeechSources = Annotated[tuple[SpeechSource, ...], BeforeValidator(_listed)]


class TrainingSettings(_Section):
    """The recipe of the next model version, and general speech that it hears beside the classroom's.

    `replay` names transcribed clips of standard Spanish (a path is a table, `fine_tune_dataset.csv` or `.json`): what
    is heard again is not forgotten. It must not be the out-of-domain set, which measures forgetting.
    """

    recipe: ExistingPath
    replay: SpeechSources = ()


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
    out_of_domain: SpeechSources = ()


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


class ReviewWeights(_Section):
    """How much each signal counts in a segment's score; 0 switches it off."""

    uncertainty: Annotated[float, Field(ge=0)] = 1.0
    disagreement: Annotated[float, Field(ge=0)] = 1.0
    no_speech: Annotated[float, Field(ge=0)] = 0.25
    confidence: Annotated[float, Field(ge=0)] = 0.5
    rejected: Annotated[float, Field(ge=0)] = 0.5
    quiet: Annotated[float, Field(ge=0)] = 0.5
    new_speaker: Annotated[float, Field(ge=0)] = 0.5


class ReviewSettings(_Section):
    """Which segments a person is asked to look at: how many minutes a week, and what counts."""

    minutes: Annotated[float, Field(gt=0)] = 30.0
    random_share: Share = 0.2
    sent_back_share: Share = 0.2
    cron: Cron = "0 6 * * 1"
    most_segments_per_session: Annotated[int, Field(ge=1)] = 20
    most_considered: Annotated[int, Field(ge=2)] = 2000
    few_minutes_of_a_speaker: Annotated[float, Field(gt=0)] = 5.0
    weights: ReviewWeights = ReviewWeights()


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
    consent: ConsentSettings = ConsentSettings()
    splits: SplitSettings = SplitSettings()
    quality: QualitySettings = QualitySettings()
    training: TrainingSettings
    evaluation: EvaluationSettings = EvaluationSettings()
    promotion: PromotionSettings = PromotionSettings()
    export: ExportSettings = ExportSettings()
    release: ReleaseSettings
    review: ReviewSettings = ReviewSettings()
    automation: AutomationSettings = AutomationSettings()

    @model_validator(mode="after")
    def _forgetting_is_measured_on_other_speech(self) -> Self:
        measured = {each.path for each in self.evaluation.out_of_domain}
        for twice in (each.path for each in self.training.replay if each.path in measured):
            raise ValueError(
                f"training.replay and evaluation.out_of_domain are both {twice}; what was trained on "
                "cannot say what was forgotten: name two different tables"
            )
        return self

    @property
    def zone(self) -> ZoneInfo:
        """The zone of Habla's naive times, whose day is the partition's day."""
        return ZoneInfo(self.time_zone)
