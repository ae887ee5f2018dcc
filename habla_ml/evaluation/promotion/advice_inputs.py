"""Collect the inputs of the training advice from the lake: hours, versions and their evidence.

The error rate of the base and all points of the learning curve come from stored comparisons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date

from habla_ml.corpus.hours import corpus_hours
from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison.records import Comparison, ModelScore
from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
from habla_ml.evaluation.comparison.version_scores import VersionScore
from habla_ml.evaluation.promotion.advice import Advice, AdviceInputs, LatestVersion, TermErrorShare, advise
from habla_ml.evaluation.promotion.curve_points import (
    CurveModel,
    build_learning_curve,
    count_words_by_unit,
    extract_curve_model,
)
from habla_ml.evaluation.promotion.learning_curve import LearningCurve
from habla_ml.evaluation.promotion.rule import decide
from habla_ml.export.registry import SERVED
from habla_ml.lake import Lake, catalogue
from habla_ml.model_version import is_subset_run, version_number
from habla_ml.settings import Settings
from habla_ml.training.plan import VersionPlan, list_evaluated_replicates, list_evaluated_trainings, read_plan
from habla_ml.training.record import TrainingRecord, read_training_record

_DAYS_PER_MONTH = 365.25 / 12


def advise_from_evidence(lake: Lake, settings: Settings, base_alone: Comparison | None) -> Advice:
    """Return the advice for the present state of the lake.

    Before the first evaluation, it uses `base_alone`: the base model on the newest test set.

    Raises:
        EvaluationError: The evidence of the newest version is unreadable.
    """
    inputs, curve = collect_advice_inputs(lake, settings, base_alone)
    return advise(inputs, curve, settings.advice)


def collect_advice_inputs(
    lake: Lake, settings: Settings, base_alone: Comparison | None
) -> tuple[AdviceInputs, LearningCurve | None]:
    """Return the inputs and, after an evaluation, the learning curve; raises as `advise_from_evidence`."""
    plans = list_evaluated_trainings(lake)
    evidence = read_stored_comparison(lake, plans[-1].version) if plans else base_alone
    return _assemble_inputs(lake, settings, plans, evidence)


def advise_for_version(lake: Lake, settings: Settings, version: str, evidence: Comparison) -> Advice:
    """Return the advice as of `version`, whose evidence is not stored yet; later versions do not count."""
    before = [plan for plan in list_evaluated_trainings(lake) if version_number(plan.version) < version_number(version)]
    inputs, curve = _assemble_inputs(lake, settings, [*before, read_plan(lake, version)], evidence)
    return advise(inputs, curve, settings.advice)


def _assemble_inputs(
    lake: Lake, settings: Settings, plans: Sequence[VersionPlan], evidence: Comparison | None
) -> tuple[AdviceInputs, LearningCurve | None]:
    """Combine hours, curve and the evidence of the newest of `plans`, or of the base alone without plans."""
    hours = corpus_hours(lake)
    days = [date.fromisoformat(day) for day in catalogue.RECORDINGS.keys(lake)]
    base = evidence.model("base") if evidence else None
    curve, latest = None, None
    notes: tuple[str, ...] = ()
    if evidence is not None and plans:
        curve, notes = _fit_learning_curve(lake, plans, evidence, settings)
        latest = _describe_latest_version(lake, plans[-1], evidence, hours, settings)
    inputs = AdviceInputs(
        base_wer=base.wer.interval if base else None,
        test_words=evidence.test.words if evidence else 0,
        test_sessions=evidence.test.sessions if evidence else 0,
        hours=hours,
        months=(max(days) - min(days)).days / _DAYS_PER_MONTH if days else 0.0,
        latest=latest,
        most_frequent_error=find_most_frequent_error(evidence, base) if evidence and base else None,
        notes=notes,
    )
    return inputs, curve


def find_most_frequent_error(comparison: Comparison, model: ModelScore) -> TermErrorShare | None:
    """Return the term behind most errors of a model: a confused word, or a missed term of the vocabulary."""
    errors = model.wer.counts.errors
    wrong: Counter[str] = Counter()
    for table in comparison.confusions:
        if table.model == model.name:
            for each in table.words:
                wrong[each.reference_token] += each.count if each.reference_token else 0
    for terms in comparison.vocabulary.models if comparison.vocabulary else ():
        if terms.model == model.name:
            for term in terms.worst:
                # A missed term of several words is at least one error.
                wrong[term.term] = max(wrong[term.term], term.reference_count - term.recalled)
    if not errors or not wrong:
        return None
    worst, times = max(wrong.items(), key=lambda each: (each[1], each[0]))
    return TermErrorShare(term=worst, share=times / errors) if times else None


def _describe_latest_version(
    lake: Lake, plan: VersionPlan, evidence: Comparison, hours: float, settings: Settings
) -> LatestVersion:
    decision, change = decide(evidence, settings.promotion), evidence.change("base")
    record = read_training_record(lake, plan.version)
    return LatestVersion(
        name=plan.version,
        improvement=None if change is None else change.relative_improvement,
        verdict=decision.verdict,
        main_reason=decision.reasons[0],
        trained_hours=0.0 if record is None else record.train_hours,
        hours_since=max(0.0, hours - plan.corpus_hours),
    )


def _fit_learning_curve(
    lake: Lake, plans: Sequence[VersionPlan], newest: Comparison, settings: Settings
) -> tuple[LearningCurve | None, tuple[str, ...]]:
    """Fit the curve through the base, all versions and subset runs on the newest test set; return it with notes.

    The newest evidence has every version on its test set; subset runs have their own evidence.
    """
    base = newest.model("base")
    if base is None or not newest.test.words:
        return None, ()
    fewest = settings.promotion.fewest_test_sessions
    if newest.test.sessions < fewest:
        return None, (
            f"The test set has {newest.test.sessions} sessions, fewer than the {fewest} that a forecast needs; correct "
            "more sessions.",
        )
    found = {base.name: extract_curve_model(newest, base.name, 0.0)}
    records: dict[str, TrainingRecord] = {}
    names = {plan.version for plan in plans}
    for score in newest.versions:
        record = _find_training_record(lake, score) if score.name in names else None
        if record is not None:
            found[score.name] = CurveModel(score.name, record.train_hours, score.counts)
            records[score.name] = record
    parts = [plan for plan in list_evaluated_replicates(lake) if is_subset_run(plan.version)]
    for evidence in _iterate_comparable_evidence(lake, [*parts, *plans], newest):
        for model in evidence.models:
            is_new = model.name not in found and model.decoding == base.decoding
            record = _find_training_record(lake, model) if is_new else None
            if record is not None:
                found[model.name] = extract_curve_model(evidence, model.name, record.train_hours)
                if not is_subset_run(model.name):  # a subset run shares the recipe of its version
                    records[model.name] = record
    notes = []
    missing = [plan.version for plan in plans if plan.version not in found]
    if missing:
        notes.append(
            f"Not on the curve: {', '.join(missing)}, because the test set, the options or the files differ. Materialise "
            "`wer_report` for them to get more points."
        )
    if len({(each.identity.recipe, each.identity.replay) for each in records.values()}) > 1:
        notes.append(
            "The versions differ in recipe or general speech, not only in hours, so the curve may attribute the gain of "
            "a better recipe to the hours."
        )
    drawn = (settings.evaluation.bootstrap_draws, settings.evaluation.seed)
    return build_learning_curve(list(found.values()), *drawn, newest=plans[-1].version), tuple(notes)


def _iterate_comparable_evidence(lake: Lake, plans: Sequence[VersionPlan], newest: Comparison) -> Iterator[Comparison]:
    """Yield the newest comparison, then the stored ones with the same test set, scorer and base model.

    A changed speaker map can give the speakers of one test set other names; then they cannot be paired.
    """
    base, words = newest.model("base"), count_words_by_unit(newest)
    yield newest
    for plan in reversed(plans[:-1]):
        try:
            older = read_stored_comparison(lake, plan.version)
        except EvaluationError:
            continue  # evidence of an older format; the notes list the version as missing
        older_base = older.model("base")
        if (
            older.test.digest == newest.test.digest
            and (older.method.scorer, older.method.unit) == (newest.method.scorer, newest.method.unit)
            and (older_base and older_base.artefact_digest) == (base and base.artefact_digest)
            and count_words_by_unit(older) == words
        ):
            yield older


def _find_training_record(lake: Lake, model: ModelScore | VersionScore) -> TrainingRecord | None:
    """Return the training record of a version whose files are those that were evaluated; else None."""
    served = lake.read_pointer(catalogue.EXPORT.name(model.name, SERVED.name))
    if served is None or served.value["tree"] != model.artefact_digest:
        return None
    record = read_training_record(lake, model.name)
    return record if record is not None and record.tree == served.value["checkpoint"] else None
