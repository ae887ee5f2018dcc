"""Compares the results of saved programs with those of Transformers for the same checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from habla_ml.export.exporter import Progress
from habla_ml.runtimes.cached_decoder import CachedDecoder
from habla_ml.runtimes.interface import ModelShape, read_model_shape
from habla_ml.runtimes.program import Program

if TYPE_CHECKING:
    from torch import Tensor

_MAX_MEL_DIFFERENCE = 0.02
_SAMPLING_RATE = 16_000
_LARGEST_PSNR_DB = 200.0
"""Above every difference that float32 has; JSON and Dagster's page have no infinity."""
_COMPARED_TOKENS = 8
"""Including the four of the prompt `<|startoftranscript|><|es|><|transcribe|><|notimestamps|>`."""


@dataclass(frozen=True)
class ParityBounds:
    """The largest differences with which programs may be released."""

    min_encoder_psnr_db: float
    max_relative_logit_difference: float
    """Share of the largest reference logit."""


@dataclass(frozen=True)
class ProgramParity:
    """Differences between the saved programs and the checkpoint."""

    encoder_psnr_db: float
    """20 log10(largest reference value / root mean square difference) of the encoder states."""
    largest_logit_difference: float
    """Over all compared tokens."""
    logit_scale: float
    """Largest absolute reference logit."""
    same_argmax: int
    """Tokens after which both predict the same next token."""
    compared_tokens: int
    """Tokens decoded through the key and value caches."""
    mel_largest_difference: float
    """On loud, quiet and silent audio; the features of speech span a range of 2."""
    alignment_largest_difference: float
    """Of the alignment head weights, which are between 0 and 1."""


def measure_parity(load: Callable[[str], Program], checkpoint: Path, progress: Progress) -> ProgramParity:
    """Run the saved programs on test audio, token by token, and compare them with Transformers in float32.

    Args:
        load: Returns a program by its name in `interface.PROGRAM_NAMES`.
        checkpoint: The prepared folder from which they were converted.
        progress: Receives one line per program.
    """
    import torch

    shape = read_model_shape(checkpoint)
    with torch.inference_mode():
        audio = make_test_audio()
        reference = ReferenceModel.load(checkpoint)
        features = reference.features(audio)
        mel_program = load("MelSpectrogram")
        pieces = (audio, (audio * 0.002).half().float(), audio * 0.0)
        mels = [mel_program({"audio": each})["melspectrogram_features"][:, :, 0] for each in pieces]
        mel_difference = compute_largest_difference(mels, [reference.features(each) for each in pieces])
        progress(f"verify: MelSpectrogram within {mel_difference:.4f}")

        encoder = load("AudioEncoder")
        states = encoder({"melspectrogram_features": features[:, :, None, :]})["encoder_output_embeds"]
        expected_states = reference.encode(features)
        psnr_db = compute_psnr_db(states[:, :, 0].transpose(1, 2), expected_states)
        progress(f"verify: AudioEncoder at {psnr_db:.1f} dB")

        tokens, expected_logits, expected_heads = reference.decode(expected_states)
        decoder = load("TextDecoder")
        logits, heads = _run_decoder(decoder, shape, states, tokens)
        difference = float((logits - expected_logits).abs().max())
        same = int((logits.argmax(-1) == expected_logits.argmax(-1)).sum())
        progress(f"verify: TextDecoder within {difference:.4f}, same prediction at {same} of {len(tokens)} tokens")
    return ProgramParity(
        encoder_psnr_db=psnr_db,
        largest_logit_difference=difference,
        logit_scale=float(expected_logits.abs().max()),
        same_argmax=same,
        compared_tokens=len(tokens),
        mel_largest_difference=mel_difference,
        alignment_largest_difference=float((heads - expected_heads).abs().max()),
    )


def find_parity_problems(parity: ProgramParity, bounds: ParityBounds) -> list[str]:
    """Return one sentence per difference that is too large for a release.

    Another predicted token is acceptable when both logits are within the allowed difference.
    """
    psnr_db, mel, logit = parity.encoder_psnr_db, parity.mel_largest_difference, parity.largest_logit_difference
    max_logit = bounds.max_relative_logit_difference * parity.logit_scale
    checks = [
        (
            psnr_db >= bounds.min_encoder_psnr_db,
            f"AudioEncoder is at {psnr_db:.1f} dB; at least {bounds.min_encoder_psnr_db:.0f} dB is required.",
        ),
        (mel <= _MAX_MEL_DIFFERENCE, f"MelSpectrogram differs by {mel:.4f}; at most {_MAX_MEL_DIFFERENCE} is allowed."),
        (logit <= max_logit, f"TextDecoder differs by {logit:.4f}; at most {max_logit:.4f} is allowed."),
    ]
    return [problem for is_within_bounds, problem in checks if not is_within_bounds]


@dataclass(frozen=True)
class ReferenceModel:
    """The Whisper of Transformers in float32."""

    model: Any
    extractor: Any

    @classmethod
    def load(cls, checkpoint: Path) -> ReferenceModel:
        """Load a prepared folder."""
        import torch
        from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

        model = WhisperForConditionalGeneration.from_pretrained(
            checkpoint, dtype=torch.float32, attn_implementation="eager"
        )
        return cls(model.eval(), WhisperFeatureExtractor.from_pretrained(checkpoint))

    def features(self, audio: Tensor) -> Tensor:
        """Return mel features [1, n_mels, 3000]."""
        import torch

        extracted = self.extractor(audio.numpy(), sampling_rate=_SAMPLING_RATE, return_tensors="np")
        return torch.from_numpy(extracted["input_features"])

    def encode(self, features: Tensor) -> Tensor:
        """Return encoder states [1, 1500, D]."""
        return self.model.model.encoder(features).last_hidden_state

    def decode(self, states: Tensor) -> tuple[list[int], Tensor, Tensor]:
        """Decode greedily; return tokens [T], logits [T, V] and alignment head means [T, 1500]."""
        import torch

        generation = self.model.generation_config
        tokens = [
            generation.decoder_start_token_id,
            generation.lang_to_id.get("<|es|>", next(iter(generation.lang_to_id.values()))),
            generation.task_to_id["transcribe"],
            generation.no_timestamps_token_id,
        ]
        while len(tokens) < _COMPARED_TOKENS:
            last = self.model.model.decoder(torch.tensor([tokens]), encoder_hidden_states=states)
            tokens.append(int(self.model.proj_out(last.last_hidden_state)[0, -1].argmax()))
        out = self.model.model.decoder(torch.tensor([tokens]), encoder_hidden_states=states, output_attentions=True)
        heads = [out.cross_attentions[layer][0, head] for layer, head in generation.alignment_heads]
        return tokens, self.model.proj_out(out.last_hidden_state)[0], torch.stack(heads).mean(0)


def _run_decoder(decoder: Program, shape: ModelShape, states: Tensor, tokens: list[int]) -> tuple[Tensor, Tensor]:
    """Return the logits after each token, [T, V], and its attention to the audio, [T, 1500]."""
    import torch

    text = CachedDecoder(decoder.bind({"encoder_output_embeds": states}), shape)
    logits, heads = zip(*(text.add_token(each) for each in tokens), strict=True)
    return torch.stack(logits), torch.stack(heads)


def compute_largest_difference(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return the largest absolute difference of these pairs; NaN if a value of any pair is none, which no bound passes."""
    import torch

    differences = [(one - other).abs().max() for one, other in zip(actual, expected, strict=True)]
    return float(torch.stack(differences).max())


def compute_psnr_db(actual: Tensor, expected: Tensor) -> float:
    """Return 20 log10(largest expected value / root mean square difference) in dB, at most `_LARGEST_PSNR_DB`."""
    mean_square = float((actual - expected).square().mean())
    peak = float(expected.abs().max())
    if mean_square == 0.0:
        return _LARGEST_PSNR_DB
    return min(20 * math.log10(peak / math.sqrt(mean_square)), _LARGEST_PSNR_DB)


def make_test_audio() -> Tensor:
    """Return 30 s of audio [480000]: harmonics and a sweep, the same 40 dB quieter, then silence.

    Rounded to float16, the type that the app passes.
    """
    import numpy as np
    import torch

    random = np.random.default_rng(20)
    time_s = np.arange(30 * _SAMPLING_RATE) / _SAMPLING_RATE
    pitch_hz = 140 + 40 * np.sin(2 * np.pi * 0.7 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / _SAMPLING_RATE
    voice = sum(np.sin(k * phase) / k for k in range(1, 20)) * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * time_s))
    sweep = np.sin(2 * np.pi * (100 + 120 * time_s) * time_s)
    audio = 0.15 * voice + 0.1 * sweep + 0.005 * random.standard_normal(time_s.size)
    audio[time_s >= 10] *= 0.01
    audio[time_s >= 20] = 0.0
    return torch.from_numpy(audio.astype(np.float16).astype(np.float32))
