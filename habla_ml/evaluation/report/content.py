"""The content of a report."""

from __future__ import annotations

from dataclasses import dataclass, field

from habla_ml.evaluation.comparison.records import Comparison, ModelScore
from habla_ml.evaluation.comparison.sealed_result import SealedResult
from habla_ml.evaluation.comparison.test_set_reuse import list_version_scores
from habla_ml.evaluation.promotion.advice import Advice
from habla_ml.evaluation.promotion.rule import Decision
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.model_version import parent_version
from habla_ml.settings import DEFAULT_PROFILE, AcceptableSettings, format_command


@dataclass(frozen=True)
class ReportContent:
    """Everything that a report shows; equal contents give the same bytes."""

    comparison: Comparison
    decision: Decision | None = None
    """None for a comparison without a release, e.g. of engines, options or quantisations."""
    date: str | None = None
    override: str | None = None
    """Sentence about the person who overrode the rule, and why."""
    acceptable: AcceptableSettings = field(default_factory=AcceptableSettings)
    training_advice: Advice | None = None
    """Whether to fine-tune, and the expected effect of more hours."""
    has_error_tables: bool = False
    """Whether parquet files with every utterance and every error are in the folder of the page."""
    profile_option: str = DEFAULT_PROFILE
    """`-p` of the commands that the report prints."""
    sealed: SealedResult | None = None
    """Result on the sealed sessions; None before the release decoded them."""
    warning: str = ""
    """Of `TestSpeech.warning`; empty for speech that is reserved for testing."""

    @property
    def advise_command(self) -> str:
        """Command that prints the training advice."""
        return format_command(self.profile_option, "advise")

    @property
    def history(self) -> tuple[tuple[str, Interval], ...]:
        """Versions with their WER on this test set, the oldest first; without replicates."""
        scores = list_version_scores(self.comparison)
        return tuple((each.name, each.interval) for each in scores if each.interval and not parent_version(each.name))

    @property
    def focus(self) -> ModelScore:
        """The candidate, or else the model with the lowest WER."""
        candidate = self.comparison.model("candidate")
        if candidate is not None:
            return candidate
        return min(self.comparison.models, key=lambda each: 1.0 if each.wer.value is None else each.wer.value)
