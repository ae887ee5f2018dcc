"""Hugging Face's `Seq2SeqTrainer` with the windows, loss and stopping rules of this project.

The project determines the order of the clips (`StepSchedule`), the loss, when to evaluate, save and stop, and which
checkpoints to keep. Whisper's own loss ignores the token count that `Trainer` passes for gradient accumulation, so four
accumulated batches would have four times the weight.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from habla_ml.code_identity import read_code_identity
from habla_ml.training.checkpoint_bounds import CheckpointBounds
from habla_ml.training.checkpoints import (
    Checkpoint,
    CheckpointStamp,
    extract_validation_curve,
    get_checkpoint_folder,
    is_patience_exhausted,
    make_point,
    prune_checkpoints,
    rank_points,
    stamp_checkpoint,
)
from habla_ml.training.clips import ClipLoader
from habla_ml.training.device import choose_attention, resolve_precision
from habla_ml.training.identity import RunIdentity
from habla_ml.training.keeper import TrainingKeeper
from habla_ml.training.log_mel import LogMel
from habla_ml.training.pace import (
    Pace,
    PaceMeter,
    RunEstimate,
    build_pace_callback,
    format_duration,
    log_pace,
    measure_workload,
)
from habla_ml.training.prediction import predict
from habla_ml.training.recipe import Recipe
from habla_ml.training.remedies import NotFiniteError, Remedies, apply_remedies
from habla_ml.training.schedule import ClipUse, StepSchedule
from habla_ml.training.sharing import (
    SharedBatchSampler,
    SharedClipLoader,
    count_passes,
    share_training,
)
from habla_ml.training.small_memory import OPTIMISERS
from habla_ml.training.targets import IGNORED_LABEL, TargetEncoder
from habla_ml.training.termination import ignore_termination
from habla_ml.training.trackers import build_tracker_callbacks
from habla_ml.training.validation import plan_validation_batches
from habla_ml.training.validation_sets import ValidationGroups
from habla_ml.training.windows import limit_encoder_window
from habla_ml.training.world import World, call_on_leader, count_cores, read_world, share

if TYPE_CHECKING:
    import torch


_NO_REMEDIES = Remedies()
_NO_BOUNDS = CheckpointBounds()
_MAX_LOADERS = 4
_PREFETCHED_BATCHES = 4
"""Of each loader."""


@dataclass(frozen=True)
class Progress:
    """A progress report of a run."""

    message: str
    step: int = 0
    max_steps: int = 0
    loss: float | None = None
    learning_rate: float | None = None
    validation_wer: float | None = None
    general_wer: float | None = None
    """Of a validation, as is the next one."""
    invented: float | None = None
    elapsed_s: float = 0.0
    pace: Pace | None = None
    estimate: RunEstimate | None = None
    is_first_stage: bool = False


@dataclass(frozen=True)
class PreparedRun:
    """One training run: data, schedule, folders and progress function."""

    recipe: Recipe
    identity: RunIdentity
    schedule: StepSchedule
    evaluate_every_steps: int
    train: ClipLoader
    validation: ClipLoader
    extractor: Any
    """The model's `WhisperFeatureExtractor`."""
    targets: TargetEncoder
    checkpoints: Path
    tensorboard: Path
    groups: ValidationGroups
    """Those of the clips in `validation`."""
    report_progress: Callable[[Progress], None]
    remedies: Remedies = _NO_REMEDIES
    keeper: TrainingKeeper | None = None
    """None where nothing is published, as for an estimate."""
    bounds: CheckpointBounds = _NO_BOUNDS

    def batches(self) -> Iterator[list[ClipUse]]:
        """Yield the clips that pass the model together."""
        for step in islice(self.schedule.steps(), self.schedule.max_steps):
            for batch in step:
                yield batch.uses()

    def own_batches(self) -> SharedBatchSampler:
        """Return the clips that pass the model together in this process."""
        return SharedBatchSampler(self.schedule, self.recipe.gradient_accumulation, read_world())


def build_trainer(model: Any, run: PreparedRun, resumed: Checkpoint | None, world: World | None = None) -> Any:
    """Return a `Seq2SeqTrainer` for `model`; call its `train(resume_from_checkpoint=…)`.

    `world` is by default that of this process.
    """
    from transformers.trainer_callback import PrinterCallback

    workload = measure_workload(run.batches(), run.recipe.gradient_accumulation, run.train.clips.durations_s)
    workload = replace(workload, largest_batch_s=run.own_batches().measure_largest_s())
    meter = PaceMeter(workload, run.evaluate_every_steps)
    world = world or read_world()
    trainer = share_training(_build_trainer_class(run, meter), run.recipe.seed, world)(
        model=model,
        args=_build_arguments(run, model, world),
        train_dataset=run.train,
        eval_dataset=run.validation,
        data_collator=run.train.collate,
        compute_metrics=partial(summarise_validation, run),
        callbacks=[
            build_pace_callback(meter),
            _build_run_callback(run, resumed, meter),
            *_build_keeper_callbacks(run),
            *build_tracker_callbacks(
                run.recipe.report_to if world.is_leader else (),
                run.tensorboard,
                lambda message: run.report_progress(Progress(message)),
            ),
        ],
    )
    trainer.model_accepts_loss_kwargs = True
    trainer.remove_callback(PrinterCallback)
    return trainer


def summarise_validation(run: PreparedRun, found: Any) -> dict[str, float]:
    """Return the metrics of decoded clips in any order; the first label of a row is the index of its clip."""
    references, hypotheses = (
        [run.targets.decode(ids) for ids in rows] for rows in (found.label_ids[:, 1:], found.predictions)
    )
    return run.groups.summarise(found.label_ids[:, 0].tolist(), references, hypotheses)


def _build_trainer_class(run: PreparedRun, meter: PaceMeter) -> type[Any]:
    """Return a subclass of `Seq2SeqTrainer` with the schedule and the loss of `run`."""
    import torch
    from torch.utils.data import DataLoader
    from transformers import Seq2SeqTrainer

    class WindowedTrainer(apply_remedies(log_pace(Seq2SeqTrainer, meter), run.remedies)):  # type: ignore[misc]
        loss_is_scaled_for_ga = True

        @cached_property
        def log_mel(self) -> LogMel:
            return LogMel(run.extractor, self.args.device)

        def floating_point_ops(self, _inputs: Any) -> int:
            return 0  # its estimate counts positions of 30 s windows

        def get_train_dataloader(self) -> Any:
            return _build_train_loader(run, self.args)

        def get_eval_dataloader(self, *_: Any) -> Any:
            batches = plan_validation_batches(run.validation.clips, run.recipe, run.remedies.batch_parts)
            keys = [batch.uses() for batch in batches]
            return DataLoader(run.validation, batch_sampler=keys, collate_fn=run.validation.collate)

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            features = self.log_mel(inputs["audio"])
            if "masked" in inputs:
                features = features.masked_fill(inputs["masked"], 0.0)  # about the mean of Whisper's features
            n_frames = features.shape[-1]
            with limit_encoder_window(self._prepare_bare_model(n_frames).get_encoder(), n_frames):
                outputs = model(input_features=features, decoder_input_ids=inputs["decoder_input_ids"], use_cache=False)
            loss = compute_token_loss(outputs.logits, inputs["labels"], num_items_in_batch, run.recipe.label_smoothing)
            return (loss, outputs) if return_outputs else loss

        def prediction_step(self, _model: Any, inputs: Any, *_: Any, **__: Any) -> tuple[Any, Any, Any]:
            inputs = self._prepare_inputs(inputs)
            features = self.log_mel(inputs["audio"])
            bare = self._prepare_bare_model(features.shape[-1])
            with torch.no_grad(), self.accelerator.autocast():
                logits, ids = predict(bare, features, inputs, run.targets.no_speech_id)
            labels = torch.cat([inputs["clips"][:, None], inputs["labels"]], 1)
            return compute_token_loss(logits, inputs["labels"], None, 0.0), ids, labels

        def _prepare_bare_model(self, n_frames: int) -> Any:
            bare = self.accelerator.unwrap_model(self.model)
            bare.set_attn_implementation(choose_attention(n_frames))
            return bare

    return WindowedTrainer


def _build_train_loader(run: PreparedRun, arguments: Any) -> Any:
    from torch.utils.data import DataLoader

    loader = SharedClipLoader(run.train)
    return DataLoader(
        loader,
        batch_sampler=run.own_batches(),
        collate_fn=loader.collate,
        num_workers=arguments.dataloader_num_workers,
        prefetch_factor=arguments.dataloader_prefetch_factor,
        pin_memory=arguments.dataloader_pin_memory,
        worker_init_fn=ignore_termination,
    )


def compute_token_loss(
    logits: torch.Tensor, labels: torch.Tensor, n_tokens: torch.Tensor | int | None, label_smoothing: float
) -> torch.Tensor:
    """Return the cross entropy of the labels, divided by the tokens of the whole accumulated batch.

    `logits` is [clips, positions, vocabulary] and `labels` [clips, positions], `IGNORED_LABEL` in padding. `n_tokens`
    is the number of labels in all micro-batches of the step; None counts those in `labels`.
    """
    from torch.nn.functional import cross_entropy

    total = cross_entropy(
        logits.flatten(0, 1).float(),
        labels.flatten(),
        ignore_index=IGNORED_LABEL,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    loss: torch.Tensor = total / (labels.ne(IGNORED_LABEL).sum() if n_tokens is None else n_tokens)
    return loss


def _build_arguments(run: PreparedRun, model: Any, world: World) -> Any:
    import torch
    from transformers import Seq2SeqTrainingArguments

    recipe, precision = run.recipe, resolve_precision(run.recipe)
    has_gpu = torch.cuda.is_available()
    arguments = Seq2SeqTrainingArguments(
        output_dir=str(run.checkpoints),
        max_steps=run.schedule.max_steps,
        per_device_train_batch_size=1,  # unused, like that for evaluation: the samplers have the batches
        gradient_accumulation_steps=count_passes(recipe.gradient_accumulation, world),
        average_tokens_across_devices=True,
        # Each pass uses all trained weights, unless it leaves out layers at random.
        ddp_find_unused_parameters=bool(model.config.encoder_layerdrop or model.config.decoder_layerdrop),
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.lr_schedule,
        warmup_steps=recipe.count_warmup_steps(run.schedule.max_steps),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_gradient_norm,
        optim=OPTIMISERS[recipe.optimizer],
        fp16=precision == "fp16",
        bf16=precision == "bf16",
        activation_checkpointing=recipe.gradient_checkpointing,
        predict_with_generate=True,
        eval_strategy="no",
        save_strategy="no",
        logging_steps=recipe.log_every_steps,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        seed=recipe.seed,
        label_names=["labels"],
        remove_unused_columns=False,
        # A loader reads samples and pads them, which takes little. On a CPU, training itself needs the cores.
        dataloader_num_workers=min(_MAX_LOADERS, max(1, count_cores() // world.local_size)) if has_gpu else 0,
        dataloader_prefetch_factor=_PREFETCHED_BATCHES if has_gpu else None,
        dataloader_pin_memory=has_gpu,
        use_cpu=not has_gpu,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # DataParallel's threads would share the encoder's window
    return arguments


def _build_keeper_callbacks(run: PreparedRun) -> list[Any]:
    if run.keeper is None:
        return []
    n_best = run.recipe.average_checkpoints
    return [run.keeper.build_callback(run.checkpoints, run.remedies, n_best, run.bounds)]


def _build_run_callback(run: PreparedRun, resumed: Checkpoint | None, meter: PaceMeter) -> Any:
    """Return the callback that decides when to evaluate, save and stop, stamps checkpoints and reports progress."""
    from transformers import TrainerCallback

    started = time.monotonic() - (resumed.stamp.elapsed_s if resumed else 0.0)
    first_stamp = _build_stamp(run, resumed)

    class RunCallback(TrainerCallback):  # type: ignore[misc]
        # Clocks differ, so rank 0 decides what follows from one.
        is_estimated = False

        def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
            elapsed_s = time.monotonic() - started
            if run.recipe.max_wall_s is not None and share(elapsed_s) > run.recipe.max_wall_s:
                control.should_training_stop = True
            due = state.global_step % run.evaluate_every_steps == 0
            if due or control.should_training_stop:
                control.should_log = control.should_evaluate = control.should_save = True
            if not self.is_estimated and (estimate := share(meter.estimate())) is not None:
                self.is_estimated = True
                message = f"step {state.global_step}/{state.max_steps}: {estimate.describe()}"
                call_on_leader(
                    run.report_progress,
                    Progress(message, state.global_step, state.max_steps, elapsed_s=elapsed_s, estimate=estimate),
                )

        def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, float], **_: Any) -> None:
            if "loss" not in logs:
                return
            _require_finite(run.recipe, "loss", logs["loss"], state.global_step)
            loss, rate = logs["loss"], logs["learning_rate"]
            line = f"loss {loss:.3f}, learning rate {rate:.1e}, {meter.measure().describe()}"
            self._report_progress(state, line, loss=loss, learning_rate=rate)

        def on_evaluate(self, _args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
            _require_finite(run.recipe, "validation loss", metrics["eval_loss"], state.global_step)
            point = make_point(state.global_step, metrics)
            line = f"{point.describe()} on {len(run.validation)} clips, loss {point.loss:.3f}"
            self._report_progress(state, line, **point.to_progress())
            curve = extract_validation_curve(state.log_history)
            if is_patience_exhausted(curve, run.recipe.early_stopping_patience, run.bounds.measure_excess):
                control.should_training_stop = True

        def on_save(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
            if not read_world().is_leader:
                return
            step, elapsed_s, stopped = state.global_step, time.monotonic() - started, control.should_training_stop
            stamp = first_stamp.model_copy(update={"step": step, "elapsed_s": elapsed_s, "stopped": stopped})
            stamp_checkpoint(get_checkpoint_folder(run.checkpoints, step), stamp)
            prune_checkpoints(run.checkpoints, {step, *_choose_kept_steps(run, state)})

        def _report_progress(self, state: Any, line: str, **figures: Any) -> None:
            elapsed_s, pace = time.monotonic() - started, meter.measure()
            left = f", about {format_duration(pace.remaining_s)} left" if state.global_step < state.max_steps else ""
            message = f"step {state.global_step}/{state.max_steps}: {line} ({format_duration(elapsed_s)}{left})"
            run.report_progress(
                Progress(message, state.global_step, state.max_steps, elapsed_s=elapsed_s, pace=pace, **figures)
            )

    return RunCallback()


def _choose_kept_steps(run: PreparedRun, state: Any) -> list[int]:
    best = rank_points(extract_validation_curve(state.log_history), run.bounds.measure_excess)
    return [point.step for point in best[: run.recipe.average_checkpoints]]


def _require_finite(recipe: Recipe, name: str, loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise NotFiniteError(
            f"the {name} is {loss} at step {step}; lower learning_rate (now {recipe.learning_rate}) or set "
            f"precision to fp32 in recipe {recipe.name}"
        )


def _build_stamp(run: PreparedRun, resumed: Checkpoint | None) -> CheckpointStamp:
    """Return the stamp of this attempt before its first step."""
    size = read_world().size
    processes = resumed.stamp.processes if resumed else (size,)
    return CheckpointStamp(
        identity=run.identity,
        step=0,
        elapsed_s=0.0,
        stopped=False,
        code=tuple(dict.fromkeys((*(resumed.stamp.code if resumed else ()), read_code_identity()))),
        processes=processes if processes[-1] == size else (*processes, size),
    )
