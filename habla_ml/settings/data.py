"""Settings of recordings, annotation, corpus and review."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from habla_ml.settings.base import (
    Cron,
    DayText,
    EndpointUrl,
    EnvironmentVariable,
    ExistingPath,
    Fraction,
    LocalPath,
    Location,
    SettingsSection,
)
from habla_ml.settings.hub import HubDatasetSettings


class StoreSettings(SettingsSection):
    """A store: a folder, or `s3://bucket/prefix` on AWS or another endpoint with conditional writes.

    Local copies of a remote lake's objects, and decoded clips, take `cache_limit_gb` (10⁹ bytes) at most.
    `cloudfront_distribution` is the id of a distribution in front of a bucket, and `cloudfront_path` the path of the store below
    its address: copies of a value that was replaced are invalidated there. `endpoint_url` has `http://` or `https://`, and no
    bucket.
    """

    url: Location
    endpoint_url: EndpointUrl | None = None
    region: str | None = None
    cache_limit_gb: Annotated[float, Field(gt=0)] = 50.0
    cloudfront_distribution: Annotated[str, Field(pattern=r"^[A-Z0-9]{1,32}$")] | None = None
    cloudfront_path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)*$")] = ""

    @model_validator(mode="after")
    def _check_endpoint(self) -> Self:
        bucket = urlsplit(self.url).netloc
        if self.endpoint_url and bucket and urlsplit(self.endpoint_url).path.strip("/") == bucket:
            raise ValueError(
                f"endpoint_url {self.endpoint_url} ends with the bucket {bucket}, so each object would be in a folder of "
                "that name; remove the bucket from endpoint_url"
            )
        return self

    @model_validator(mode="after")
    def _check_distribution(self) -> Self:
        if self.cloudfront_distribution and not self.url.startswith("s3://"):
            raise ValueError(
                f"cloudfront_distribution is {self.cloudfront_distribution}, but {self.url} is no bucket; remove it, or set "
                "url to s3://bucket/prefix"
            )
        return self


def _check_first_day(day: str) -> str:
    """Return the day; Dagster makes partitions from it on, and cannot compute those of the first and the last years."""
    if not "1970-01-01" <= day < "3000":
        raise ValueError("expected a day from 1970-01-01 on; 1970-01-01 takes all lessons")
    return day


class RecordingsSettings(SettingsSection):
    """Habla's recordings folder, when a session is finished, and whether the browser's raw stream is archived.

    The folder may be missing: Habla creates it with the first session, or a disk may not be mounted. `max_recordings` is
    Habla's setting of that name: beyond it Habla deletes its oldest sessions; 0 is no limit.
    """

    folder: LocalPath
    first_day: Annotated[DayText, AfterValidator(_check_first_day)] = "2026-01-01"
    max_recordings: Annotated[int, Field(ge=0)] = 100
    crashed_after_hours: Annotated[float, Field(gt=0)] = 12.0
    longest_segment_s: Annotated[float, Field(gt=0, le=30)] = 30.0
    keep_raw_stream: bool = False

    @property
    def folder_problem(self) -> str | None:
        """Why nothing can be read from the folder; None where it exists."""
        try:
            if self.folder.is_dir():
                return None
        except OSError as error:  # a folder above it that this user may not enter
            return f"the recordings folder {self.folder} cannot be read ({error.strerror}); fix its permissions"
        return f"the recordings folder {self.folder} does not exist; create it or set recordings.folder"


class LabelStudioSettings(SettingsSection):
    """A Label Studio server: the one at `url`, or without it the embedded one of `habla-ml label-studio up`.

    `token_variable` names the environment variable with the token of the server at `url`, a legacy token or a personal
    access token. `folder` has the embedded server's database and login (default: in `work_folder`), `documents` the
    audio that a server serves as local files (default: in `folder`), and `environment` is the server's virtual
    environment (default: next to that of habla_ml).
    """

    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+[^\s]*[^/\s]$")] | None = None
    token_variable: EnvironmentVariable = "LABEL_STUDIO_TOKEN"  # noqa: S105 (the name of a variable)
    title: Annotated[str, Field(min_length=3, max_length=50)] = "habla_ml"
    port: Annotated[int, Field(ge=1024, le=65_535)] = 8082
    folder: LocalPath | None = None
    documents: LocalPath | None = None
    environment: LocalPath | None = None
    batch_size: Annotated[int, Field(ge=1, le=5_000)] = 500
    page_size: Annotated[int, Field(ge=1, le=1_000)] = 100
    overlap_s: Annotated[float, Field(ge=0)] = 300.0
    patience_s: Annotated[float, Field(ge=0)] = 60.0


class AnnotationSettings(SettingsSection):
    """Tables of transcripts (`fine_tune_dataset.csv` or `.json`), and the bound on disagreement.

    `most_disagreement` is a share of words; above it the check `annotators_agree` of a day fails.
    """

    tables: tuple[LocalPath, ...] = ()
    most_disagreement: Fraction = 0.2
    label_studio: LabelStudioSettings = LabelStudioSettings()


class CorpusSettings(SettingsSection):
    """The conventions, the speaker map of enrolled people, the bounds of a usable segment, and a dataset on the Hub."""

    conventions: ExistingPath
    speakers: ExistingPath | None = None
    longest_transcript_chars: Annotated[int, Field(gt=0)] = 300
    slowest_chars_per_s: Annotated[float, Field(ge=0)] = 0.5
    fastest_chars_per_s: Annotated[float, Field(gt=0)] = 35.0
    hub_dataset: HubDatasetSettings = HubDatasetSettings()


class ConsentSettings(SettingsSection):
    """The consent register, a YAML file, and the consents that the service records.

    Without a register, every recording of Habla is used. `required` is that the service stores no clip without a standing
    consent of its contributor. `documents` is the folder with the consent texts; consents to a version of a text before
    `oldest_version` do not count.
    """

    registry: ExistingPath | None = None
    required: bool = True
    documents: Annotated[LocalPath, Field(validate_default=True)] = Path("configs/consents")
    oldest_version: Annotated[int, Field(ge=1)] = 1


class SplitSettings(SettingsSection):
    """Shares of hours by split; train gets the rest. The seed decides the order in which groups are assigned.

    Once `test` has `sealed_from_sessions` sessions, a new test session is sealed with the probability `sealed_share`:
    only the release decodes it. 0 seals no further session.
    """

    validation: Fraction = 0.1
    test: Fraction = 0.1
    seed: int = 20260216
    sealed_share: Fraction = 0.3
    sealed_from_sessions: Annotated[int, Field(ge=0)] = 20


class QualitySettings(SettingsSection):
    """Bounds of the checks on recordings and corpus, and the flagged audio in the corpus report.

    Shares are of the checked segments; with fewer than `fewest_segments` a check passes.
    """

    fewest_segments: Annotated[int, Field(ge=3)] = 20
    most_without_words_share: Fraction = 0.25
    most_implausible_rate_share: Fraction = 0.05
    lowest_length_correlation: Annotated[float, Field(ge=-1, le=1)] = 0.4
    clipped_from_sample_share: Fraction = 0.001
    most_clipped_share: Fraction = 0.1
    silent_below_dbfs: Annotated[float, Field(le=0)] = -60.0
    most_silent_share: Fraction = 0.1
    most_other_language_share: Fraction = 0.05
    most_mismatched_hours_share: Fraction = 0.05
    most_hours_lost_share: Fraction = 0.05
    accepted_snapshot: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    flagged_segments_shown: Annotated[int, Field(ge=0)] = 20
    largest_audio_bytes: Annotated[int, Field(ge=0)] = 2_000_000


class SpeechSource(SettingsSection):
    """Transcribed speech from outside the classroom: a table, a Common Voice TSV or a Hugging Face dataset on disk.

    `licence` and `origin` (an address or a citation) are recorded with every model trained on it and are optional for
    a table. The filters use the columns of Common Voice. `most_hours` takes a sample, always the same.
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
    def _require_licence_and_origin(self) -> Self:
        for key in ("licence", "origin"):
            if self.kind != "table" and not getattr(self, key).strip():
                raise ValueError(f"{key} is missing; {self.kind} speech is used only with its licence and origin")
        if self.kind == "table" and (self.fewest_up_votes or self.most_down_votes is not None or self.accents):
            raise ValueError("a table has no votes and no accents; remove the filters or set another kind")
        return self


def _normalise_sources(value: Any) -> Any:
    """Return a tuple of sources; a plain path is a table, and a single source is a list of one."""
    if value is None:
        return ()
    listed = value if isinstance(value, list | tuple) else [value]
    return tuple({"path": each} if isinstance(each, str | Path) else each for each in listed)


SpeechSources = Annotated[tuple[SpeechSource, ...], BeforeValidator(_normalise_sources)]


class ReviewWeights(SettingsSection):
    """Weight of each signal in the score of a segment; 0 switches it off."""

    uncertainty: Annotated[float, Field(ge=0)] = 1.0
    disagreement: Annotated[float, Field(ge=0)] = 1.0
    no_speech: Annotated[float, Field(ge=0)] = 0.25
    confidence: Annotated[float, Field(ge=0)] = 0.5
    rejected: Annotated[float, Field(ge=0)] = 0.5
    quiet: Annotated[float, Field(ge=0)] = 0.5
    new_speaker: Annotated[float, Field(ge=0)] = 0.5


class ReviewSettings(SettingsSection):
    """The review queue: its minutes a week, its shares and limits.

    `choice` is how segments of train sessions are chosen: at random, or ranked by how difficult they seem. `weights`,
    `most_segments_per_session` and `few_minutes_of_a_speaker` are of the ranking.
    """

    minutes: Annotated[float, Field(gt=0)] = 30.0
    choice: Literal["random", "ranked"] = "random"
    random_share: Fraction = 0.2
    blind_share: Fraction = 1.0
    """Share of the random segments of held-out sessions that are transcribed without a given text."""
    second_person_share: Fraction = 0.2
    """Share of the blind segments that two people transcribe."""
    sent_back_share: Fraction = 0.2
    cron: Cron = "0 6 * * 1"
    most_segments_per_session: Annotated[int, Field(ge=1)] = 20
    most_considered: Annotated[int, Field(ge=2)] = 2000
    few_minutes_of_a_speaker: Annotated[float, Field(gt=0)] = 5.0
    weights: ReviewWeights = ReviewWeights()
