"""What is known when somebody asks whether to fine-tune, collected from the lake: hours, versions, their evidence.

The base's error rate and every point of the learning curve come from stored comparisons. Only where no version was
measured yet does the base model hear the newest test set, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date

from habla_ml.corpus.growth import corpus_hours
from habla_ml.corpus.snapshot import latest_snapshot
from habla_ml.errors import EvaluationError
from habla_ml.evaluation.advice import Advice, LatestVersion, Situation, TermShare, advise
from habla_ml.evaluation.compare import Beside, compare_versions
from habla_ml.evaluation.comparison import Comparison, ModelScore, Provenance
from habla_ml.evaluation.curve_points import learning_curve_of, measured_model
from habla_ml.evaluation.evidence import classroom_vocabulary, evaluated_as, stored_comparison
from habla_ml.evaluation.learning_curve import LearningCurve
from habla_ml.evaluation.listening import Progress, Sounds, listen, snapshot_sounds
from habla_ml.evaluation.promotion import decide
from habla_ml.lake import Lake, catalogue
from habla_ml.release.contenders import base_contender
from habla_ml.settings import Settings
from habla_ml.training.plan import VersionPlan, good_repeats, good_trainings, read_plan
from habla_ml.training.recipe import load_recipe
from habla_ml.training.record import TrainingRecord, published_record
from habla_ml.versions import is_part, version_number

_DAYS_A_MONTH = 365.25 / 12


def advise_now(lake: Lake, settings: Settings, progress: Progress) -> Advice:
    """The advice for the lake as it is.

    Raises:
        EvaluationError: The newest version's evidence cannot be read, or the base model cannot be decoded.
        TrainingError: The base model cannot be had.
    """
    situation, curve = take_stock(lake, settings, progress)
    return advise(situation, curve, settings.advice)


def take_stock(lake: Lake, settings: Settings, progress: Progress) -> tuple[Situation, LearningCurve | None]:
    """What is known, and the learning curve where versions were measured; raises as `advise_now`."""
    plans = good_trainings(lake)
    if plans:
        return _stock(lake, settings, plans, stored_comparison(lake, plans[-1].version))
    return _stock(lake, settings, plans, _base_alone(lake, settings, progress))


def advise_with(lake: Lake, settings: Settings, version: str, evidence: Comparison) -> Advice:
    """The advice as of `version`, whose evidence was just found and is not stored yet; later versions do not count."""
    before = [plan for plan in good_trainings(lake) if version_number(plan.version) < version_number(version)]
    situation, curve = _stock(lake, settings, [*before, read_plan(lake, version)], evidence)
    return advise(situation, curve, settings.advice)


def _stock(
    lake: Lake, settings: Settings, plans: Sequence[VersionPlan], evidence: Comparison | None
) -> tuple[Situation, LearningCurve | None]:
    """What is known with the evidence of the newest of `plans`, or of the base alone where there is none."""
    hours = corpus_hours(lake)
    curve, notes = (None, ()) if evidence is None or not plans else _curve(lake, plans, evidence, settings)
    base = None if evidence is None else evidence.model("base")
    situation = Situation(
        base_wer=None if base is None else base.wer.interval,
        test_words=0 if evidence is None else evidence.test.words,
        test_sessions=0 if evidence is None else evidence.test.sessions,
        hours=hours,
        months=_months(lake),
        latest=_latest(lake, plans[-1], evidence, hours, settings) if plans and evidence is not None else None,
        commonest=None if evidence is None or base is None else commonest_term(evidence, base),
        notes=notes,
    )
    return situation, curve


def commonest_term(comparison: Comparison, model: ModelScore) -> TermShare | None:
    """The term behind most errors of a model: a word of its confusions, or a term of the vocabulary that it misses."""
    errors = model.wer.counts.errors
    wrong: Counter[str] = Counter()
    for table in comparison.confusions:
        if table.model == model.name:
            for each in table.words:
                wrong[each.said] += each.count if each.said else 0
    for terms in comparison.vocabulary.models if comparison.vocabulary else ():
        if terms.model == model.name:
            for term in terms.worst:
                # A missed term of several words is one error at least.
                wrong[term.term] = max(wrong[term.term], term.said - term.recalled)
    if not errors or not wrong:
        return None
    worst, times = max(wrong.items(), key=lambda each: (each[1], each[0]))
    return TermShare(term=worst, share=times / errors) if times else None


def _base_alone(lake: Lake, settings: Settings, progress: Progress) -> Comparison | None:
    """The base model on the newest test set; None where there is none."""
    if lake.pointer(catalogue.SPLITS) is None:
        return None
    snapshot = latest_snapshot(lake)
    if not snapshot.counts.get("test"):
        return None
    base = base_contender(lake, load_recipe(settings.training.recipe), settings, progress)
    read = snapshot_sounds(lake, snapshot)
    heard = listen(lake, base, Sounds(read), settings.evaluation, progress)
    return compare_versions(
        read(),
        [evaluated_as(base, heard, settings.evaluation)],
        settings.evaluation,
        Provenance(
            snapshot_id=snapshot.id,
            conventions=snapshot.conventions,
            conventions_digest=snapshot.conventions_digest,
        ),
        Beside(vocabulary=classroom_vocabulary(lake, snapshot, settings.evaluation)),
    )


def _latest(
    lake: Lake, plan: VersionPlan, evidence: Comparison, hours: float, settings: Settings
) -> LatestVersion:
    decision, change = decide(evidence, settings.promotion), evidence.change("base")
    record = published_record(lake, plan.version)
    return LatestVersion(
        name=plan.version,
        improvement=None if change is None else change.relative_improvement,
        verdict=decision.verdict,
        because=decision.reasons[0],
        trained_hours=0.0 if record is None else record.train_hours,
        hours_since=max(0.0, hours - plan.corpus_hours),
    )


def _curve(
    lake: Lake, plans: Sequence[VersionPlan], newest: Comparison, settings: Settings
) -> tuple[LearningCurve | None, tuple[str, ...]]:
    """The curve through the base, every version and every part of one that the newest test set measured, with notes."""
    base = newest.model("base")
    if base is None or not newest.test.words:
        return None, ()
    fewest = settings.promotion.fewest_test_sessions
    if newest.test.sessions < fewest:
        return None, (
            f"The test set has {newest.test.sessions} sessions, fewer than the {fewest} that a forecast or a release "
            "takes; correct more sessions.",
        )
    found = {base.name: measured_model(newest, base.name, 0.0)}
    records: dict[str, TrainingRecord] = {}
    parts = [plan for plan in good_repeats(lake) if is_part(plan.version)]
    for evidence in _on_the_same_test(lake, [*parts, *plans], newest):
        for model in evidence.models:
            is_new = model.name not in found and model.decoding == base.decoding
            record = _measured_record(lake, model) if is_new else None
            if record is not None:
                found[model.name] = measured_model(evidence, model.name, record.train_hours)
                if not is_part(model.name):  # its recipe is that of the whole, but for the amount
                    records[model.name] = record
    notes = []
    missing = [plan.version for plan in plans if plan.version not in found]
    if missing:
        notes.append(
            f"Not on the curve: {', '.join(missing)}, measured on another test set, with other options or as other "
            "files; materialise `wer_report` for them to have more points."
        )
    if len({(each.identity.recipe, each.identity.replay) for each in records.values()}) > 1:
        notes.append(
            "The versions differ in recipe or general speech, not in hours alone: a better recipe looks like a gain "
            "from hours."
        )
    drawn = (settings.evaluation.bootstrap_draws, settings.evaluation.seed)
    return learning_curve_of(list(found.values()), *drawn), tuple(notes)


def _on_the_same_test(lake: Lake, plans: Sequence[VersionPlan], newest: Comparison) -> Iterator[Comparison]:
    """The stored comparisons whose figures may stand beside the newest one's, that one first."""
    base = newest.model("base")
    yield newest
    for plan in reversed(plans[:-1]):
        try:
            older = stored_comparison(lake, plan.version)
        except EvaluationError:
            # Evidence of an older format: the version is told as missing from the curve.
            continue
        theirs = older.model("base")
        if (
            older.test.digest == newest.test.digest
            and (older.method.scorer, older.method.unit) == (newest.method.scorer, newest.method.unit)
            and (theirs and theirs.artefact_digest) == (base and base.artefact_digest)
        ):
            yield older


def _measured_record(lake: Lake, model: ModelScore) -> TrainingRecord | None:
    """How a version was trained, where what was measured is what it consists of now; None for the base."""
    served = lake.pointer(catalogue.EXPORT.name(model.name, "ctranslate2"))
    if served is None or served.value["tree"] != model.artefact_digest:
        return None
    record = published_record(lake, model.name)
    return record if record is not None and record.tree == served.value["checkpoint"] else None


def _months(lake: Lake) -> float:
    """From the first to the last day of recording."""
    days = [date.fromisoformat(day) for day in catalogue.RECORDINGS.keys(lake)]
    return (max(days) - min(days)).days / _DAYS_A_MONTH if days else 0.0
