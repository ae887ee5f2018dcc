"""Decode the sealed sessions for a version that is about to be released: once for each version, and nowhere else.

Only a version that the gate would otherwise release is decoded. Each result is a look at the sealed sessions, and few
looks keep them trustworthy. The stored result is then a part of the evidence that `check_gate` reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from habla_ml.corpus.snapshot import Snapshot, load_latest_snapshot, read_sealed_utterances
from habla_ml.errors import PointerMovedError
from habla_ml.evaluation.comparison.compare import compare_decoded_models
from habla_ml.evaluation.comparison.decoding import EvaluatedModel, decode_sets
from habla_ml.evaluation.comparison.models_under_test import prepare_evaluated_models
from habla_ml.evaluation.comparison.records import Comparison, Provenance
from habla_ml.evaluation.comparison.sealed_result import SealedResult, read_sealed_result, summarise_sealed
from habla_ml.evaluation.comparison.test_set_reuse import record_looks
from habla_ml.evaluation.metrics.inputs import OptionalMeasurements
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.shards import iterate_batches

if TYPE_CHECKING:
    from habla_ml.release.gate import GateResult
    from habla_ml.settings import Settings


def open_sealed_share(
    lake: Lake, gate: GateResult, settings: Settings, progress: Callable[[str], None]
) -> SealedResult | None:
    """Return the version's result on the sealed sessions: the stored one, or a new one that is stored.

    Return None, and decode nothing, where the gate does not allow the release, or the newest snapshot has fewer sealed
    sessions than `promotion.fewest_test_sessions`: a result on few sessions shows nothing and would be the only one.

    Args:
        lake: Holds snapshot, artefacts and results.
        gate: The decision so far.
        settings: How to decode and compare, and the fewest sessions.
        progress: Receives a line now and then.

    Raises:
        EvaluationError: An engine failed; finished hypotheses are saved.
    """
    stored = read_sealed_result(lake, gate.version)
    if stored is not None or not gate.is_allowed:
        return stored
    snapshot = load_latest_snapshot(lake)
    sessions = count_sealed_sessions(lake, snapshot)
    fewest = settings.promotion.fewest_test_sessions
    if sessions < fewest:
        progress(f"{sessions} sealed sessions; they are decoded once there are {fewest}")
        return None
    previous = gate.comparison.model("previous")
    release = None if previous is None else previous.name
    models = prepare_evaluated_models(lake, release, gate.version, settings, progress)
    comparison = _compare_on_sealed(lake, snapshot, models, settings, progress)
    result = summarise_sealed(gate.version, comparison, len(record_looks(lake, comparison)))
    value = {"result": lake.put_json(result.model_dump(mode="json")), "snapshot": snapshot.id}
    try:
        lake.move_pointer(catalogue.SEALED_RESULT.name(gate.version), value, None)
    except PointerMovedError:  # another run was faster; its result is the only one
        return read_sealed_result(lake, gate.version)
    return result


def check_with_sealed_share(
    check: Callable[[], GateResult], lake: Lake, settings: Settings, progress: Callable[[str], None]
) -> GateResult:
    """Return the decision of the gate; where it allows the release, open the sealed share and decide again.

    `check` applies `check_gate` to the stored evidence. Raises as `open_sealed_share`.
    """
    gate = check()
    result = open_sealed_share(lake, gate, settings, progress)
    return gate if result == gate.sealed else check()


def count_sealed_sessions(lake: Lake, snapshot: Snapshot) -> int:
    """Return the number of sealed sessions of a snapshot."""
    found: set[str] = set()
    for batch in iterate_batches(lake, snapshot.segments, ["session_id", "split"]):
        found.update(batch.filter(pc.equal(batch["split"], "sealed"))["session_id"].to_pylist())
    return len(found)


def _compare_on_sealed(
    lake: Lake,
    snapshot: Snapshot,
    models: list[EvaluatedModel],
    settings: Settings,
    progress: Callable[[str], None],
) -> Comparison:
    decoded = [
        decode_sets(
            lake,
            each,
            lambda: read_sealed_utterances(lake, snapshot),
            OptionalMeasurements(),
            settings,
            lambda line: progress(f"sealed sessions, {line}"),
        )
        for each in models
    ]
    provenance = Provenance(
        snapshot_id=snapshot.id, conventions=snapshot.conventions, conventions_digest=snapshot.conventions_digest
    )
    return compare_decoded_models(read_sealed_utterances(lake, snapshot), decoded, settings.evaluation, provenance)
