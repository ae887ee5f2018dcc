"""Record what made a run fail as tags of the run, where sensors read it without its event log."""

from __future__ import annotations

from typing import Final

import dagster as dg

from habla_ml.errors import classify_fault, describe_error

CAUSE_TAG: Final = "habla_ml/fault_cause"
REASON_TAG: Final = "habla_ml/fault_reason"
_MAX_REASON_CHARS: Final = 300
# Dagster does not export the class.
_BLOCKING_CHECK_FAILED: Final = "DagsterAssetCheckFailedError"


@dg.failure_hook
def record_fault(context: dg.HookContext) -> None:
    """Tag the run with the fault and its reason.

    A run whose worker is lost, or that cannot write its tags, has none: a fault of the environment.
    """
    error = context.op_exception
    if error is None:
        return
    is_check = type(error).__name__ == _BLOCKING_CHECK_FAILED
    reason = "a blocking check failed" if is_check else describe_error(error)
    fault = "input" if is_check else classify_fault(error)
    tags = {CAUSE_TAG: fault, REASON_TAG: f"{context.op.name}: {reason}"[:_MAX_REASON_CHARS]}
    context.instance.add_run_tags(context.run_id, tags)
