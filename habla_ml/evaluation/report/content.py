"""What a report is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from habla_ml.evaluation.comparison.records import Comparison, ModelScore
from habla_ml.evaluation.promotion.advice import Advice
from habla_ml.evaluation.promotion.rule import Decision
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.settings import DEFAULT_PROFILE, AcceptableSettings, format_command


@dataclass(frozen=True)
class Content:
    """Everything that is told; equal contents give the same bytes."""

    comparison: Comparison
    decision: Decision | None = None
    """None where nothing is to be released: a comparison of engines, options or quantisations."""
    date: str | None = None
    """The day to print, as the caller wants it read."""
    override: str | None = None
    """Who decided otherwise than the rule, and why."""
    history: Sequence[tuple[str, Interval]] = ()
    """Versions, the oldest first, with their WER on this same test set."""
    acceptable: AcceptableSettings = field(default_factory=AcceptableSettings)
    should_train: Advice | None = None
    """Whether to fine-tune, and what more hours would buy."""
    has_records: bool = False
    """Whether every utterance and every error lie beside the page as parquet."""

    profile_option: str = DEFAULT_PROFILE
    """`-p` of the commands that the report prints."""

    @property
    def advise_command(self) -> str:
        """The command that prints the training advice."""
        return format_command(self.profile_option, "advise")

    @property
    def focus(self) -> ModelScore:
        """The model that the report is about: the candidate, or else the one that errs least."""
        candidate = self.comparison.model("candidate")
        if candidate is not None:
            return candidate
        return min(self.comparison.models, key=lambda each: 1.0 if each.wer.value is None else each.wer.value)
