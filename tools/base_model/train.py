"""Train the demo's base model on Castilian speech: ``python -m tools.base_model.train --output FOLDER``.

Whisper computes 30 s for a clip of 3 s, which is too slow for training from scratch on two cores. Most batches
therefore use a window as long as their longest clip, with the encoder's fixed positions cut to it. Late in training
every fourth batch uses the full 30 s of the served model. A temporary CTC head on the encoder speeds up learning the
alignment (Watanabe et al. 2017, hybrid CTC/attention).

One clip in ten has no speech (see `TargetEncoder.encode_silence`). Half of the targets have the times of the speech.
`--new-timestamps` continues from a model that was trained without them.

`--from FOLDER --steps N` continues from a trained model, at a low learning rate and without the CTC head.
"""

import argparse
import logging
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from habla_ml.demo.grammar import SpeechRegister, generate_sentence
from habla_ml.errors import TrainingError
from habla_ml.training.targets import TargetEncoder
from tools.base_model.architecture import create_base_model, load_base_model, save_base_model, set_timestamps
from tools.base_model.tokenizer import train_tokenizer
from tools.base_model.training_clips import BaseTrainingClip, load_castilian_clips, make_non_speech_clips

if TYPE_CHECKING:
    import torch
    from transformers import WhisperForConditionalGeneration, WhisperTokenizer

_log = logging.getLogger(__name__)

_VOCABULARY_SIZE = 640
_FULL_FRAMES = 3000
_FULL_WINDOW_PERIOD = 4
_SILENCE_SHARE = 0.5
_WRONG_TOKEN_SHARE = 0.5

Labels = tuple[int, ...]
"""Decoder targets of a clip, by `TargetEncoder`."""


@dataclass(frozen=True)
class BaseRecipe:
    """Hyperparameters of the base model.

    Attributes:
        n_clips: Number of distinct speech clips of about 3 s.
        n_non_speech: Number of distinct clips without speech.
        non_speech_share: Share of clips without speech in a batch.
        seed: Seed of clips, weights and order.
        steps: Optimiser steps.
        batch_size: Clips per batch with short windows.
        full_batch_size: Clips per batch with 30 s windows.
        full_from: Share of the steps after which every fourth batch has 30 s windows.
        learning_rate: Peak; linear warm-up over `warmup_steps`, then a cosine to a twentieth.
        warmup_steps: Steps of warm-up.
        ctc_weight: Weight of the CTC loss; 0 disables it.
        timestamps_share: Share of the targets with the times of the speech.
        checkpoint_s: Seconds between checkpoints.
    """

    n_clips: int = 10_000
    n_non_speech: int = 800
    non_speech_share: float = 0.1
    seed: int = 20_26
    steps: int = 3_400
    batch_size: int = 24
    full_batch_size: int = 5
    full_from: float = 0.6
    learning_rate: float = 1.2e-3
    warmup_steps: int = 400
    ctc_weight: float = 0.3
    timestamps_share: float = 0.5
    checkpoint_s: float = 120.0


CONTINUATION_RECIPE = BaseRecipe(
    n_clips=2_400, seed=20_27, steps=240, full_from=0.0, learning_rate=3e-4, warmup_steps=20, ctc_weight=0.0
)
"""Continuation of a trained model: other clips, fewer steps, a quarter of the learning rate."""


def train_base_tokenizer(seed: int) -> "WhisperTokenizer":
    """Train the tokenizer on sentences of the classroom grammar."""
    rng = np.random.default_rng([seed, 1])
    sentences = [generate_sentence(register, rng) for _ in range(4_000) for register in SpeechRegister]
    return train_tokenizer(sentences, _VOCABULARY_SIZE)


def learning_rate_at(step: int, recipe: BaseRecipe) -> float:
    """Return the learning rate of a step."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


def encode_window(model: "WhisperForConditionalGeneration", features: "torch.Tensor") -> "torch.Tensor":
    """Run Whisper's encoder on a window of any length up to 30 s.

    Args:
        model: The model.
        features: Log-mels, [batch, 80, frames], an even number of frames.

    Returns:
        [batch, frames / 2, d_model].
    """
    from torch.nn.functional import gelu

    encoder = model.model.encoder
    hidden = gelu(encoder.conv2(gelu(encoder.conv1(features)))).permute(0, 2, 1)
    hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
    for layer in encoder.layers:
        hidden = layer(hidden, None)
    return encoder.layer_norm(hidden)


class BaseTraining:
    """One training run: its clips, model, optimiser and step, resumable from its workspace.

    Args:
        recipe: Hyperparameters.
        clips: Clips with speech, and without (empty text).
        workspace: Folder of the training state.
        start: Transformers folder to continue from; None starts with random weights.
        new_timestamps: Whether the timestamps of `start` are untrained.
    """

    def __init__(
        self,
        recipe: BaseRecipe,
        clips: list[BaseTrainingClip],
        workspace: Path,
        start: Path | None = None,
        *,
        new_timestamps: bool = False,
    ) -> None:
        import torch

        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.workspace = workspace
        self._start = start
        if start is None:
            self.tokenizer = train_base_tokenizer(recipe.seed)
            self.model = create_base_model(self.tokenizer)
        else:
            self.tokenizer, self.model = load_base_model(start)
        self._targets = TargetEncoder(self.tokenizer)
        if start is None or new_timestamps:
            set_timestamps(self.model, self._targets.require_timestamps())
        self.ctc_head = torch.nn.Linear(self.model.config.d_model, self.tokenizer.eos_token_id)
        self.optimiser = torch.optim.AdamW(
            [parameter for parameter in self.parameters() if parameter.requires_grad],
            lr=recipe.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=0.01,
        )
        self.step = 0
        self._speech = sorted((clip for clip in clips if clip.text), key=lambda clip: clip.log_mel.shape[1])
        self._non_speech = [clip for clip in clips if not clip.text]
        self._resume()

    def parameters(self) -> "list[torch.nn.Parameter]":
        """Return all trained parameters, those of the CTC head included."""
        return [*self.model.parameters(), *self.ctc_head.parameters()]

    def run(self, output: Path) -> None:
        """Train to the last step and write a usable model to `output` at every checkpoint."""
        import torch

        saved_at = time.monotonic()
        losses: list[float] = []
        while self.step < self.recipe.steps:
            losses.append(self._run_step())
            if self.step % 50 == 0:
                _log.info("step %d/%d loss %.3f", self.step, self.recipe.steps, np.mean(losses[-50:]))
            if time.monotonic() - saved_at > self.recipe.checkpoint_s or self.step == self.recipe.steps:
                saved_at = time.monotonic()
                save_base_model(self.model, self.tokenizer, output)
                state = {
                    "step": self.step,
                    "data": self._data_description,
                    "model": self.model.state_dict(),
                    "ctc_head": self.ctc_head.state_dict(),
                    "optimiser": self.optimiser.state_dict(),
                }
                torch.save(state, self._state_path.with_suffix(".partial"))
                self._state_path.with_suffix(".partial").replace(self._state_path)

    @property
    def _data_description(self) -> str:
        origin = "" if self._start is None else f" from {self._start}"
        return f"{self.recipe.n_clips} clips of seed {self.recipe.seed}{origin}"

    @property
    def _state_path(self) -> Path:
        return self.workspace / "training_state.pt"

    def _resume(self) -> None:
        import torch

        if self._state_path.exists():
            state = torch.load(self._state_path, weights_only=True)
            if state["data"] != self._data_description:
                raise TrainingError(
                    f"{self._state_path} was trained on {state['data']}, this run uses {self._data_description}; "
                    "use another --workspace or delete the file"
                )
            self.step = state["step"]
            self.model.load_state_dict(state["model"])
            self.ctc_head.load_state_dict(state["ctc_head"])
            self.optimiser.load_state_dict(state["optimiser"])
            _log.info("resumed at step %d", self.step)

    def _run_step(self) -> float:
        import torch

        rng = np.random.default_rng([self.recipe.seed, 2, self.step])
        full = self.step % _FULL_WINDOW_PERIOD == 0 and self.step >= self.recipe.full_from * self.recipe.steps
        features, frames, targets = self._make_batch(full, rng)
        padded = self._targets.pad(targets)
        inputs, labels = torch.from_numpy(padded.decoder_input_ids), torch.from_numpy(padded.labels)
        # On a CPU fused attention is faster at 30 s and slower at 3 s.
        self.model.set_attn_implementation("sdpa" if full else "eager")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = encode_window(self.model, features)
            loss = self.model(encoder_outputs=(hidden,), decoder_input_ids=inputs, labels=labels).loss
        if not full and self.recipe.ctc_weight:
            loss = loss + self.recipe.ctc_weight * self._ctc_loss(hidden.float(), frames, targets)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(self.step, self.recipe)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        return float(loss.detach())

    def _ctc_loss(self, hidden: "torch.Tensor", frames: "torch.Tensor", targets: list[Labels]) -> "torch.Tensor":
        import torch
        from torch.nn.functional import ctc_loss, log_softmax

        blank = self.tokenizer.convert_tokens_to_ids("")
        scores = log_softmax(self.ctc_head(hidden), dim=-1).transpose(0, 1)
        texts = [[piece for piece in self._targets.pieces(each) if piece < self._targets.n_pieces] for each in targets]
        lengths = torch.tensor([len(each) for each in texts])
        pieces = torch.tensor([piece for each in texts for piece in each])
        return ctc_loss(scores, pieces, frames // 2, lengths, blank=blank, zero_infinity=True)

    def _make_batch(self, full: bool, rng: np.random.Generator) -> "tuple[torch.Tensor, torch.Tensor, list[Labels]]":
        """Return features [batch, 80, frames], frames per clip, and targets of clips with similar lengths."""
        import torch

        clips = self._draw_batch_clips(self.recipe.full_batch_size if full else self.recipe.batch_size, rng)
        # Clips without speech are cut to the longest speech clip; otherwise the window would grow.
        longest = max(clip.log_mel.shape[1] for clip in clips if clip.text or full)
        width = _FULL_FRAMES if full else 2 * ((longest + int(rng.integers(2, 64))) // 2)
        batch = np.empty((len(clips), 80, width), dtype=np.float32)
        for row, clip in zip(batch, clips, strict=True):
            mel = clip.log_mel[:, :longest]
            gain = rng.normal(0.0, 0.08)
            # WhisperX and phones pad the audio with silence, faster-whisper pads the features with zeros.
            row[:] = clip.log_mel.min() + gain if rng.random() < _SILENCE_SHARE else 0.0
            row[:, : mel.shape[1]] = _apply_spec_augment(mel.astype(np.float32), rng) + gain
        frames = torch.tensor([min(clip.log_mel.shape[1], longest) for clip in clips])
        return torch.from_numpy(batch), frames, [self._make_target(clip, rng) for clip in clips]

    def _draw_batch_clips(self, size: int, rng: np.random.Generator) -> list[BaseTrainingClip]:
        """Draw the clips of a batch, some without speech; the first has speech."""
        first = int(rng.integers(0, max(1, len(self._speech) - 2 * size)))
        nearby = self._speech[first : first + 2 * size]
        clips = [nearby[index] for index in rng.permutation(len(nearby))[:size]]
        for place in range(1, len(clips)):
            if self._non_speech and rng.random() < self.recipe.non_speech_share:
                clips[place] = self._non_speech[int(rng.integers(0, len(self._non_speech)))]
        return clips

    def _make_target(self, clip: BaseTrainingClip, rng: np.random.Generator) -> Labels:
        is_timed = rng.random() < self.recipe.timestamps_share
        if clip.text:
            labels = self._targets.encode(clip.text)
            return tuple(self._targets.add_times(labels, *clip.speech)) if is_timed and clip.speech else labels
        n_pieces = self.tokenizer.convert_tokens_to_ids("")
        guess = int(rng.integers(0, n_pieces)) if rng.random() < _WRONG_TOKEN_SHARE else None
        labels = self._targets.encode_silence(guess)
        return tuple(self._targets.add_times(labels, 0, 0)) if is_timed else labels


def _apply_spec_augment(mel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply mild SpecAugment (Park et al. 2019): mask two mel bands and one time span with the mean."""
    masked = mel.copy()
    for _ in range(2):
        low = int(rng.integers(0, 72))
        masked[low : low + int(rng.integers(0, 9))] = mel.mean()
    start = int(rng.integers(0, max(1, mel.shape[1] - 20)))
    masked[:, start : start + int(rng.integers(0, 16))] = mel.mean()
    return masked


def main() -> None:
    """Train from the command line."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for the model")
    parser.add_argument("--workspace", type=Path, required=True, help="folder for clips and the training state")
    parser.add_argument("--from", dest="start", type=Path, help="trained model to continue from")
    parser.add_argument("--steps", type=int, help=f"{BaseRecipe.steps}, or {CONTINUATION_RECIPE.steps} with --from")
    parser.add_argument("--clips", type=int, help=f"{BaseRecipe.n_clips}, or {CONTINUATION_RECIPE.n_clips} with --from")
    parser.add_argument("--learning-rate", type=float, help="peak learning rate")
    parser.add_argument("--new-timestamps", action="store_true", help="the timestamps of --from are untrained")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    usual = BaseRecipe() if arguments.start is None else CONTINUATION_RECIPE
    recipe = replace(
        usual,
        steps=arguments.steps or usual.steps,
        n_clips=arguments.clips or usual.n_clips,
        learning_rate=arguments.learning_rate or usual.learning_rate,
    )
    clips = load_castilian_clips(recipe.n_clips, recipe.seed, arguments.workspace)
    clips += make_non_speech_clips(recipe.n_non_speech, recipe.seed)
    _log.info("%d clips, %.1f hours", len(clips), sum(clip.log_mel.shape[1] for clip in clips) / 360_000)
    torch.set_num_threads(arguments.threads)
    new = arguments.new_timestamps
    BaseTraining(recipe, clips, arguments.workspace, arguments.start, new_timestamps=new).run(arguments.output)


if __name__ == "__main__":
    main()
