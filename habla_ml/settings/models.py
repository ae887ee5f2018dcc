"""Settings of training, evaluation, promotion, export, release and monitoring."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from habla_ml.settings.base import Cron, EnvironmentVariable, ExistingPath, Fraction, LocalPath, SettingsSection
from habla_ml.settings.data import SpeechSources, StoreSettings
from habla_ml.settings.hosted import HostedSettings
from habla_ml.settings.hub import HubSettings

_CLIENT_PORT: Final = 10001
"""The port that `ray start --head` opens for clients."""


class RaySettings(SettingsSection):
    """The Ray cluster of the trainings, and of imports and decoding on Ray.

    `address` is that of its Jobs API, which starts trainings. Imports and decoding connect to `client_address`: its port
    for clients `ray://HEAD:10001`, or `auto` on a machine of the cluster. Null is port 10001 of the host of `address`.
    `resources_per_process` is what Ray reserves for each process of a training, such as
    `{CPU: 8, GPU: 1}`. `runtime_env` is the environment that Ray makes for a job; anyone with access to the cluster can
    read it, so it must not have secrets. After `max_failures` lost processes or machines the job ends. A cluster that does
    not answer for `lost_after_s` seconds is lost. In both cases Dagster retries, and the training resumes.
    """

    address: Annotated[str, Field(pattern=r"^https?://[^/:]")] = "http://127.0.0.1:8265"
    client_address: Annotated[str, Field(pattern=r"^(ray://.+|auto|[^/]+:[0-9]+)$")] | None = None
    resources_per_process: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=lambda: {"CPU": 1.0})
    runtime_env: dict[str, Any] = Field(default_factory=dict)
    max_failures: Annotated[int, Field(ge=0)] = 8
    lost_after_s: Annotated[float, Field(ge=0)] = 300.0

    @property
    def bulk_address(self) -> str:
        """The address that imports and decoding connect to."""
        host = urlsplit(self.address).hostname or ""
        return self.client_address or f"ray://{f'[{host}]' if ':' in host else host}:{_CLIENT_PORT}"


class LaunchSettings(SettingsSection):
    """Where a training runs: in one process `here`, in several of one host by `torchrun`, or on a cluster by `ray`.

    `processes` is their number; `auto` is one per GPU of this host, and one without a GPU. Ray needs a number.
    """

    where: Literal["here", "torchrun", "ray"] = "here"
    processes: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    ray: RaySettings = RaySettings()

    @model_validator(mode="after")
    def _check_processes(self) -> Self:
        if self.where == "here" and self.processes not in ("auto", 1):
            raise ValueError(
                f"where: here is one process, not {self.processes}; set where: torchrun or remove processes"
            )
        if self.where == "ray" and self.processes == "auto":
            raise ValueError(
                "where: ray needs the number of processes, because this host cannot count the cluster's GPUs"
            )
        return self


class TrainingSettings(SettingsSection):
    """The recipe of the next model version, and general speech for its training.

    `replay` is transcribed standard Spanish that is mixed into the training against forgetting; a path is a table,
    `fine_tune_dataset.csv` or `.json`. `first_stage` is the speech of the recipe's section of that name, before the
    classroom speech. Neither may be the out-of-domain set, which measures forgetting. `continue_from` names the version in
    `release.hub.repository` whose weights a new version starts from, such as `v2`, or `newest`. A training that would take
    longer than `limit_h` hours is refused after its first steps; null is no limit. `launch` says where it runs.
    `search_space` is what `habla-ml sweep` searches, in trainings that are no versions.

    Each `checkpoint_every_min` minutes a training stores a checkpoint in the lake, so that another machine can resume it.
    `auto` is 15 with a lake on S3, and never with a folder, which is on the machine of the work folder; null is never.
    """

    recipe: ExistingPath
    search_space: ExistingPath | None = None
    replay: SpeechSources = ()
    first_stage: SpeechSources = ()
    limit_h: Annotated[float, Field(gt=0)] | None = 48.0
    checkpoint_every_min: Annotated[float, Field(gt=0)] | Literal["auto"] | None = "auto"
    continue_from: Literal["newest"] | Annotated[str, Field(pattern=r"^v[1-9][0-9]*$")] | None = None
    launch: LaunchSettings = LaunchSettings()


class CorpusWordSettings(SettingsSection):
    """Which words of the corpus count as classroom vocabulary without a list.

    `zipf_below` is a frequency in general Spanish: 4 is ten in a million.
    """

    fewest: Annotated[int, Field(ge=1)] = 5
    zipf_below: float = 4.0
    most: Annotated[int, Field(ge=0)] = 300


class AcceptableSettings(SettingsSection):
    """Absolute upper bounds of acceptable values; null is no bound.

    These are the bounds of the project's evaluation framework, which has none for the CER of Spanish; this is that of
    English. The real-time factors are those of production; a preview needs 0.5 and 1. The memory is that of the serving
    machine. With fewer than `fewest_clips` clips nothing is compared.
    """

    wer: float | None = 0.10
    cer: float | None = 0.05
    real_time_factor_p50: float | None = 2.0
    real_time_factor_p95: float | None = 5.0
    peak_memory_bytes: int | None = None
    peak_gpu_memory_bytes: int | None = None
    own_cost_per_audio_hour_usd: float | None = 0.50
    hosted_cost_per_audio_hour_usd: float | None = 1.50
    word_timing_ms: float | None = 100.0
    fewest_clips: int = 50


class DecodingLaunchSettings(SettingsSection):
    """Where test sets and review pools are decoded: `here`, or by `ray` on the cluster of `training.launch.ray`.

    There `engines` processes load the model, and Ray reserves `resources_per_engine` for each, such as `{CPU: 4, GPU: 1}`.
    With `evaluation.cpu_threads: 0` an engine uses as many cores as it has reserved.
    """

    where: Literal["here", "ray"] = "here"
    engines: Annotated[int, Field(ge=1)] = 1
    resources_per_engine: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=lambda: {"CPU": 1.0})


class EvaluationSettings(SettingsSection):
    """How models are decoded, as they are served, and compared.

    `serving_profile` names the way of serving that decides (`habla_ml.transcription.serving_profiles`). The candidate
    is also scored under the other profiles, on a random sample of `profile_clips` test clips (null: all, 0: none).
    `engine`, `beam_size` and `batch_size` are those of Habla; `whisperx` must be installed. `launch` says where they run.

    `unit` is the sampling unit of the bootstrap. `non_speech` is a folder of WAVs without speech, added to
    `non_speech_takes` rounds of built-in sounds; `vocabulary` a file of terms, one a line; `alignments` words with
    manual times; `speaker_turns` a folder of `<session>.rttm` with the speaker turns. `parity_clips` clips are decoded
    with the checkpoint too, to detect a broken conversion (0: none). `format_clips` clips are decoded with each other
    export, at most for `format_seconds` each (0 clips: none). They are few, because the phone's programs run in an
    interpreter. `rescored_versions` are scored again on the test
    set of each report, so that all figures are of one test set: `all` evaluated ones, or a list.

    `speed_clips` clips are timed in `speed_rounds` rounds, all models in turn, for speed, memory and cost (0: none).
    `compute_usd_per_hour` is the price of your own machine.
    """

    serving_profile: str = "habla"
    profile_clips: Annotated[int, Field(ge=0)] | None = 200
    engine: Literal["faster-whisper", "faster-whisper-batched", "whisperx"] = "faster-whisper"
    beam_size: Annotated[int, Field(ge=1)] = 5
    batch_size: Annotated[int, Field(ge=1)] | None = None
    language: str = "es"
    clip_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    cpu_threads: Annotated[int, Field(ge=0)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    launch: DecodingLaunchSettings = DecodingLaunchSettings()
    quiet_below_dbfs: float = -35.0
    bootstrap_draws: Annotated[int, Field(ge=100)] = 10_000
    seed: int = 20260216
    smallest_slice_sessions: Annotated[int, Field(ge=1)] = 3
    smallest_slice_words: Annotated[int, Field(ge=1)] = 100
    unit: Literal["session", "speaker"] = "session"
    out_of_domain: SpeechSources = ()
    non_speech: ExistingPath | None = None
    non_speech_takes: Annotated[int, Field(ge=0)] = 1
    short_below_s: Annotated[float, Field(gt=0)] = 2.0
    compression_ratio: Annotated[float, Field(gt=1)] = 2.4
    stock_phrases: tuple[str, ...] = ()
    vocabulary: ExistingPath | None = None
    corpus_words: CorpusWordSettings = CorpusWordSettings()
    alignments: ExistingPath | None = None
    speaker_turns: ExistingPath | None = None
    rescored_versions: Literal["all"] | tuple[Annotated[str, Field(pattern=r"^v[1-9][0-9]*$")], ...] = "all"
    parity_clips: Annotated[int, Field(ge=0)] = 60
    format_clips: Annotated[int, Field(ge=0)] = 40
    format_seconds: Annotated[float, Field(gt=0)] = 1800.0
    speed_clips: Annotated[int, Field(ge=0)] = 50
    speed_rounds: Annotated[int, Field(ge=2)] = 3
    compute_usd_per_hour: Annotated[float, Field(ge=0)] | None = None
    acceptable: AcceptableSettings = AcceptableSettings()
    hosted: HostedSettings = HostedSettings()


class TranscriptionSettings(SettingsSection):
    """How `habla-ml transcribe` writes transcripts of audio files.

    `line_width` is in characters, `longest_file_s` bounds the memory for one file, and a segment is tagged as
    low confidence where its average log-probability per token is below `low_confidence_below`.
    """

    line_width: Annotated[int, Field(ge=1)] = 42
    longest_file_s: Annotated[float, Field(gt=0)] = 3600.0
    low_confidence_below: float = -0.7


GuardName = Literal["out_of_domain_wer", "deletions", "non_speech_output", "invented_texts", "slices", "parity"]
"""The guards of the promotion rule: names of metrics, the slices, and the parity of the converted model."""


class PromotionSettings(SettingsSection):
    """Bounds of the promotion rule on improvements and losses.

    A candidate replaces a release if it is better with a probability of at least `replace_when_better_with`. A guard that
    the data cannot judge does not stop a release if `may_stay_unshown` names it. An export whose WER is surely more than
    `format_loss_points` above that of the served model is left out of the release.
    """

    replace_when_better_with: Annotated[float, Field(ge=0.5, lt=1)] = 0.8
    may_stay_unshown: tuple[GuardName, ...] = get_args(GuardName)
    deploy_above_relative: Fraction = 0.30
    collect_below_relative: Fraction = 0.20
    out_of_domain_loss_points: Annotated[float, Field(ge=0)] = 2.0
    deletion_loss_points: Annotated[float, Field(ge=0)] = 1.0
    slice_loss_points: Annotated[float, Field(ge=0)] = 0.0
    non_speech_loss_points: Annotated[float, Field(ge=0)] = 10.0
    invented_loss_points: Annotated[float, Field(ge=0)] = 1.0
    parity_loss_points: Annotated[float, Field(ge=0)] = 2.0
    format_loss_points: Annotated[float, Field(ge=0)] = 2.0
    fewest_test_sessions: Annotated[int, Field(ge=1)] = 5
    fewest_effective_sessions: Annotated[float, Field(ge=1)] = 4.0
    fewest_test_words: Annotated[int, Field(ge=1)] = 200


class AdviceSettings(SettingsSection):
    """When `habla-ml advise` recommends fine-tuning or more speech.

    Below `base_wer_from` or `fewest_hours`, fine-tuning Whisper on a dialect gains little for its effort. If one term
    makes more than `one_term_share` of the errors, the dialect is not the cause. Forecasts are for `more_hours`. More
    speech is not recommended if the largest of them removes `worth_removing` of the errors, about the least that a
    class notices, with a probability below `worth_probability`.
    """

    base_wer_from: Fraction = 0.15
    fewest_hours: Annotated[float, Field(ge=0)] = 10.0
    one_term_share: Fraction = 0.5
    more_hours: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (5.0, 10.0, 20.0)
    worth_removing: Fraction = 0.10
    worth_probability: Fraction = 0.5


class ExportSettings(SettingsSection):
    """Quantisation for Habla, phones, onnxruntime and whisper.cpp, and the time limit of a process that converts or checks.

    Phones older than `coreml_target` do not load the archive.

    With `onnx_quantisation` or `ggml_quantisation`, each version is also exported to ONNX or GGML and released. With
    `checkpoint_archive`, so is the Transformers checkpoint itself, in float32.
    """

    ctranslate2_quantisation: str = "int8"
    coreml_quantisation: Literal["float16", "int8", "palettised-6bit"] = "float16"
    coreml_target: Literal["iOS16", "iOS17", "iOS18", "iOS18-stateful"] = "iOS16"
    onnx_quantisation: Literal["float32", "int8"] | None = None
    ggml_quantisation: Literal["float16", "q8_0", "q5_1"] | None = None
    checkpoint_archive: bool = False
    coreml_timeout_s: Annotated[float, Field(gt=0)] = 3600.0


class ReleaseSettings(SettingsSection):
    """The store, public address, model name, licence and channel of releases.

    Apps older than `minimum_app_version` do not install a release, and `rollout_percent` of the devices install it.
    `keys_folder` has the private keys that sign releases. Apps install nothing `signature_days` after the last
    signature, which `signature_cron` renews.
    """

    store: StoreSettings
    public_url: str | None = None
    model_id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")] = "habla-andalusian"
    licence: str = "MIT"
    channel: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")] = "stable"
    minimum_app_version: Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9}){0,3}$")] | None = None
    rollout_percent: Annotated[int, Field(ge=0, le=100)] = 100
    keys_folder: LocalPath | None = None
    signature_days: Annotated[int, Field(ge=14, le=730)] = 90
    signature_cron: Cron = "30 4 * * 1"
    hub: HubSettings = HubSettings()


class EmailSettings(SettingsSection):
    """A mail server; `password_variable` names the environment variable with its password."""

    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    starttls: bool = True
    user: str | None = None
    password_variable: EnvironmentVariable = "HABLA_SMTP_PASSWORD"  # noqa: S105 (the name of a variable)
    sender: str
    recipients: Annotated[tuple[str, ...], Field(min_length=1)]


class AlertSettings(SettingsSection):
    """Recipients of alerts: the variable with a webhook's address (Slack, Teams, Mattermost), and e-mail."""

    webhook_variable: EnvironmentVariable | None = None
    email: EmailSettings | None = None


class LoopAlertSettings(SettingsSection):
    """When the loop counts as stopped.

    `folders_before_deletion`: Habla deletes a session that is not in the lake after so many new sessions or fewer; never
    more than half of `recordings.max_recordings`. `most_hours_waiting` is how long a finished session may wait for its
    ingest, and `outage_minutes` how long the lake may be unreachable. `review_queue_days` is the age of the review queue,
    and `least_free_gb` the free space of the work folder. The sensor looks every `interval_s`; `status_cron` refreshes
    the asset `loop_status`.
    """

    folders_before_deletion: Annotated[int, Field(ge=0)] = 20
    most_hours_waiting: Annotated[float, Field(gt=0)] = 6.0
    review_queue_days: Annotated[float, Field(gt=0)] = 8.0
    least_free_gb: Annotated[float, Field(ge=0)] = 5.0
    outage_minutes: Annotated[float, Field(ge=0)] = 15.0
    interval_s: Annotated[int, Field(ge=1)] = 300
    status_cron: Cron = "10 * * * *"


class MonitoringSettings(SettingsSection):
    """Weekly monitoring of the released version, and the alerts of the loop.

    `tolerated_worsening` is the relative rise of the WER above that of the release's test set that is no drift, because
    people and weeks differ. A false alarm occurs once in `weeks_between_false_alarms` weeks on average. Inputs are
    compared with the `reference_weeks` before the release.
    """

    cron: Cron = "0 7 * * 1"
    tolerated_worsening: Fraction = 0.15
    weeks_between_false_alarms: Annotated[float, Field(gt=1)] = 200.0
    fewest_words_a_week: Annotated[int, Field(ge=1)] = 100
    reference_weeks: Annotated[int, Field(ge=1)] = 12
    loop: LoopAlertSettings = LoopAlertSettings()
    alerts: AlertSettings = AlertSettings()
