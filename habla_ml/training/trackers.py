"""Experiment trackers that follow a run, as a recipe names them in `report_to`: TensorBoard, MLflow and Weights & Biases.

Transformers' own callbacks send the figures. This module starts the tracker's run with the version, its inputs and links,
and continues it after a resume. A tracker that fails is left out with a message; the training goes on.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Literal
from uuid import uuid4

from habla_ml.errors import TrainingError

Tracker = Literal["tensorboard", "mlflow", "wandb"]

PROJECT: Final = "habla_ml"
"""Experiment of MLflow and project of Weights & Biases, unless their own variables name another."""
_RUNS_FILE: Final = "trackers.json"


def require_trackers(trackers: Sequence[Tracker], recipe: str) -> None:
    """Raise `TrainingError` if the package of a tracker is not installed."""
    for name in trackers:
        if importlib.util.find_spec(name) is None:
            raise TrainingError(
                f"recipe {recipe} has {name} in report_to, but the package is not installed; run "
                f"pip install 'habla-ml[{name}]' or remove {name} from report_to"
            )


@contextmanager
def open_trackers(
    trackers: Sequence[Tracker],
    version: str,
    labels: Mapping[str, str],
    folder: Path,
    storage: Path,
    report: Callable[[str], None],
) -> Iterator[dict[str, str]]:
    """Start the runs of the trackers that have their own, or continue those of `folder`; yield tracker → where its run is.

    Args:
        trackers: As in the recipe.
        version: Name of the runs.
        labels: Inputs of the version and links, which become tags or configuration of the runs.
        folder: Work folder of the version, with the ids of its runs.
        storage: Where trackers without a server write the runs of all versions.
        report: Gets a message for each run, or why there is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / _RUNS_FILE
    known = _read_runs(file)
    found: dict[str, str] = {}
    with ExitStack() as stack:
        for name in trackers:
            if name == "tensorboard":
                continue
            start = _start_mlflow if name == "mlflow" else _start_wandb
            try:
                known[name], found[name] = start(stack, version, labels, storage, known.get(name))
            except Exception as error:  # noqa: BLE001 - a tracker has its own errors, and none may end a training
                report(f"{name} is left out: {type(error).__name__}: {error}")
            else:
                report(f"{name}: {found[name]}")
        unfinished = file.with_name(f".{file.name}")
        unfinished.write_text(json.dumps(known), "utf-8")
        unfinished.replace(file)
        yield found


def _read_runs(file: Path) -> dict[str, str]:
    """Return tracker → id of its run; nothing where a full disk or a power loss cut the file, so that new runs begin."""
    try:
        found = json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def build_tracker_callbacks(trackers: Sequence[Tracker], tensorboard: Path, report: Callable[[str], None]) -> list[Any]:
    """Return Transformers' callbacks of the trackers; those with their own runs only where one is open."""
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import MLflowCallback, TensorBoardCallback, WandbCallback

    callbacks = []
    for name in trackers:
        if name == "tensorboard":
            callbacks.append(TensorBoardCallback(SummaryWriter(log_dir=str(tensorboard))))
        elif name == "mlflow" and _has_mlflow_run():
            callbacks.append(_guard(MLflowCallback(), name, report))
        elif name == "wandb" and _has_wandb_run():
            callbacks.append(_guard(WandbCallback(), name, report))
    return callbacks


def _guard(callback: Any, name: Tracker, report: Callable[[str], None]) -> Any:
    """Return a callback that forwards to another one until that fails, so that a lost server ends no training."""
    from transformers import TrainerCallback

    class GuardedCallback(TrainerCallback):  # type: ignore[misc]
        is_lost = False

        def on_train_begin(self, *arguments: Any, **named: Any) -> None:
            self._forward("on_train_begin", *arguments, **named)

        def on_log(self, *arguments: Any, **named: Any) -> None:
            self._forward("on_log", *arguments, **named)

        def on_train_end(self, *arguments: Any, **named: Any) -> None:
            self._forward("on_train_end", *arguments, **named)

        def _forward(self, event: str, *arguments: Any, **named: Any) -> None:
            if self.is_lost:
                return
            try:
                getattr(callback, event)(*arguments, **named)
            except Exception as error:  # noqa: BLE001 - a tracker has its own errors, and none may end a training
                self.is_lost = True
                report(f"{name} is left out from here on: {type(error).__name__}: {error}")

    return GuardedCallback()


def _start_mlflow(
    stack: ExitStack, version: str, labels: Mapping[str, str], storage: Path, run_id: str | None
) -> tuple[str, str]:
    import mlflow

    # Parameters of a run cannot change, but a resumed run may have others.
    os.environ.setdefault("MLFLOW_MAX_LOG_PARAMS", "0")
    if "MLFLOW_TRACKING_URI" not in os.environ:
        mlflow.set_tracking_uri(f"sqlite:///{storage.resolve() / 'mlflow.db'}")
    experiment = mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
    if run_id is not None and not _mlflow_has(run_id):
        run_id = None
    run = stack.enter_context(mlflow.start_run(run_id=run_id, run_name=version))
    mlflow.set_tags(dict(labels))
    stack.callback(mlflow.flush_async_logging)
    address = mlflow.get_tracking_uri()
    if address.startswith("http"):
        address = f"{address.rstrip('/')}/#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}"
    return str(run.info.run_id), address


def _mlflow_has(run_id: str) -> bool:
    import mlflow

    try:
        mlflow.get_run(run_id)
    except mlflow.exceptions.MlflowException:  # another server or a new database
        return False
    return True


def _start_wandb(
    stack: ExitStack, version: str, labels: Mapping[str, str], storage: Path, run_id: str | None
) -> tuple[str, str]:
    import wandb

    # Without a key, wandb asks for one on the terminal.
    default = "online" if "WANDB_API_KEY" in os.environ else "offline"
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=version,
        id=run_id or uuid4().hex[:16],
        resume="allow",
        mode=os.environ.get("WANDB_MODE", default),
        dir=str(storage),
        config=dict(labels),
        settings=wandb.Settings(console="off", disable_code=True, disable_git=True, silent=True),
    )
    stack.callback(run.finish)
    return str(run.id), str(run.url or run.dir)


def _has_mlflow_run() -> bool:
    import mlflow

    return mlflow.active_run() is not None


def _has_wandb_run() -> bool:
    import wandb

    return wandb.run is not None
