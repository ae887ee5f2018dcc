"""Slices of a test set: by loudness, noise, length, speaker, sentence, session, source and kind of reference.

Each utterance is in exactly one slice of each dimension; utterances without a value are in the slice `unknown`. Dialect
features are not slices, because most sentences have several: see `metrics.feature_errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, get_args

from habla_ml.evaluation.comparison.records import ComparisonMethod, Dimension, Slice, SliceRate
from habla_ml.evaluation.metrics.inputs import Reference, ScoredSpeech
from habla_ml.evaluation.scoring.rates import compute_rate, stack_counts
from habla_ml.evaluation.scoring.statistics import Draws, Resample, to_interval
from habla_ml.names import canonical_name, choose_spellings

if TYPE_CHECKING:
    from habla_ml.settings import EvaluationSettings

DIMENSIONS: Final[tuple[Dimension, ...]] = get_args(Dimension)
"""The order of slices in a comparison."""
UNKNOWN: Final = "unknown"
BLIND: Final = "blind"
"""Name of the slice whose references were typed without a text in view."""

_DURATION_BOUNDS_S = (2.0, 4.0, 8.0)
_SNR_BOUNDS_DB = (10.0, 20.0)
_SEEN_LABELS: Final = {True: "known from training", False: "new to the model", None: UNKNOWN}
_SENTENCE_LABELS: Final = {True: "seen sentence", False: "new sentence", None: UNKNOWN}


def compute_slices(speech: ScoredSpeech, settings: EvaluationSettings) -> tuple[tuple[Slice, Resample], ...]:
    """Return every slice of the test set with its draws, the whole set first.

    All slices are scored on the same draws. Where speakers are drawn, a slice of one speaker has none to draw from, so its
    sessions are drawn. The improvement is that of the candidate over the base; None where either is missing.
    """
    groups: dict[_SliceKey, list[int]] = {}
    shown = choose_spellings(name for each in speech.references for name in (each.speaker_key, each.session_id))
    for at, reference in enumerate(speech.references):
        for key in _list_slice_keys(reference, settings.quiet_below_dbfs, shown):
            groups.setdefault(key, []).append(at)
    keys = sorted(groups, key=lambda key: (DIMENSIONS.index(key.dimension), key.rank, key.name))
    resamples = _resample_slices(speech, [groups[key] for key in keys], [shown[each] for each in speech.sessions])
    return tuple(
        (_make_slice(key, groups[key], speech, drawn, settings), drawn)
        for key, drawn in zip(keys, resamples, strict=True)
    )


def _resample_slices(speech: ScoredSpeech, slices: Sequence[Sequence[int]], sessions: Sequence[str]) -> list[Resample]:
    """Return the draws of each slice, given by its utterances; `sessions` has the session of each utterance."""
    whole = stack_counts([each.words for each in speech.models])
    tables = [whole.select_rows(each) for each in slices]
    found = speech.draws.resample(tables)
    of_sessions = Draws.of(sessions, speech.draws.draws, speech.draws.seed)
    single = [
        at
        for at, rows in enumerate(slices)
        if not speech.draws.has_several_units(rows) and of_sessions.has_several_units(rows)
    ]
    for at, drawn in zip(single, of_sessions.resample([tables[each] for each in single]), strict=True):
        found[at] = drawn
    return found


def list_slice_names(reference: Reference, quiet_below_dbfs: float, shown: Mapping[str, str]) -> dict[Dimension, str]:
    """Return the name of the utterance's slice in each dimension.

    Args:
        reference: The utterance.
        quiet_below_dbfs: Speech below it is quiet.
        shown: Name of a speaker or session → the one of its spellings to show.
    """
    return {key.dimension: key.name for key in _list_slice_keys(reference, quiet_below_dbfs, shown)}


@dataclass(frozen=True)
class _SliceKey:
    dimension: Dimension
    name: str
    rank: int = 0
    """Order within the dimension; slices of the same rank are sorted by name."""


def _list_slice_keys(reference: Reference, quiet_below_dbfs: float, shown: Mapping[str, str]) -> list[_SliceKey]:
    """Return the slices of an utterance; `shown` is name → the one of its spellings to show."""
    quiet = reference.loudness_dbfs < quiet_below_dbfs
    bound = f"{quiet_below_dbfs:g} dBFS"
    return [
        _SliceKey("overall", "all speech"),
        _SliceKey("loudness", f"quiet (below {bound})" if quiet else f"normal (from {bound})", 1 if quiet else 0),
        _make_bin_key("duration", reference.duration_s, _DURATION_BOUNDS_S, "s", "0–2 s"),
        _make_bin_key("snr", reference.snr_db, _SNR_BOUNDS_DB, "dB", "below 10 dB"),
        _make_label_key("role", reference.role),
        _SliceKey("seen_speaker", _SEEN_LABELS[reference.is_seen_speaker], int(reference.is_seen_speaker is None)),
        _SliceKey("sentence", _SENTENCE_LABELS[reference.is_seen_sentence], int(reference.is_seen_sentence is None)),
        _make_label_key("source", reference.source),
        _SliceKey("reference", BLIND if reference.is_blind else "pre-filled or unknown", int(not reference.is_blind)),
        _SliceKey("speaker", shown[reference.speaker_key]),
        _SliceKey("session", shown[reference.session_id]),
    ]


def _make_label_key(dimension: Dimension, name: str) -> _SliceKey:
    return _SliceKey(dimension, name) if name else _SliceKey(dimension, UNKNOWN, 1)


def _make_bin_key(
    dimension: Dimension, value: float | None, bounds: Sequence[float], unit: str, first: str
) -> _SliceKey:
    """Return the key of the interval [lower bound, upper bound) that contains `value`."""
    if value is None:
        return _SliceKey(dimension, UNKNOWN, len(bounds) + 1)
    rank = sum(value >= bound for bound in bounds)
    if rank == 0:
        return _SliceKey(dimension, first)
    if rank == len(bounds):
        return _SliceKey(dimension, f"{bounds[-1]:g} {unit} and more", rank)
    return _SliceKey(dimension, f"{bounds[rank - 1]:g}–{bounds[rank]:g} {unit}", rank)


def _make_slice(
    key: _SliceKey,
    chosen: Sequence[int],
    speech: ScoredSpeech,
    resample: Resample,
    settings: EvaluationSettings,
) -> Slice:
    models, sessions = speech.models, len({canonical_name(speech.references[at].session_id) for at in chosen})
    roles = {model.role: at for at, model in enumerate(models)}
    improvement = None
    if "base" in roles and "candidate" in roles:
        improvement = to_interval(resample.relative_improvement(roles["base"], roles["candidate"]))
    return Slice(
        dimension=key.dimension,
        name=key.name,
        utterances=len(chosen),
        sessions=sessions,
        words=resample.words,
        too_small=explain_too_small(sessions, resample.words, settings),
        rates=tuple(
            SliceRate(model=model.name, rate=compute_rate([model.words[row] for row in chosen], resample, at))
            for at, model in enumerate(models)
        ),
        improvement=improvement,
    )


def explain_too_small(sessions: int, words: int, limits: EvaluationSettings | ComparisonMethod) -> str | None:
    """Return why a part of the test set has too few sessions or words for conclusions, or None."""
    if sessions < limits.smallest_slice_sessions:
        return f"too small: {sessions} of the required {limits.smallest_slice_sessions} sessions"
    if words < limits.smallest_slice_words:
        return f"too small: {words} of the required {limits.smallest_slice_words} words"
    return None
