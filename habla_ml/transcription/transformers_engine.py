"""Decodes a checkpoint folder with Transformers, before any conversion."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from habla_ml.audio import SAMPLE_RATE
from habla_ml.errors import EvaluationError
from habla_ml.process import keep_freed_memory
from habla_ml.transcription.engine import Clip, Hypothesis, RecognisedWord
from habla_ml.transcription.options import REPEATED_ATTEMPT_OPTIONS, DecodingOptions
from habla_ml.transcription.whisper_output import (
    build_recognised_words,
    build_whisper_hypothesis,
    build_whisper_tokenizer,
)

if TYPE_CHECKING:
    import torch

_FRAME_S: Final = 0.02
"""Duration of one encoder frame."""
_ATTENTION_MEDIAN_WIDTH: Final = 7
_GPU_BATCH_CLIPS: Final = 16
_MIN_ALIGNED_FRAMES: Final = 16
_REQUIRED_CHECKPOINT_FILES: Final = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "preprocessor_config.json",
)


class Transformers:
    """A Whisper checkpoint in float32, decoded as `faster_whisper.FasterWhisper` decodes its conversion.

    Prompt, suppressed tokens, thresholds and averages are the same, so differences in text are caused by the conversion.
    The beam search is that of Transformers: like Whisper's it stops at the `beam_size`-th finished text, but it ranks
    and prunes differently. It does not support `patience`.
    """

    model_format: ClassVar = "checkpoint"
    supported_options: ClassVar = (
        frozenset(DecodingOptions.model_fields) - REPEATED_ATTEMPT_OPTIONS - {"patience", "vad"}
    )

    def __init__(self, model_folder: Path, options: DecodingOptions, device: str, cpu_threads: int) -> None:
        config = _read_configs(model_folder)
        import tokenizers
        import torch
        from transformers import GenerationConfig, WhisperFeatureExtractor

        keep_freed_memory()
        torch.set_num_threads(cpu_threads or os.cpu_count() or 1)
        self._options = options
        self._heads = _read_alignment_heads(model_folder, config) if options.word_times else []
        self._device = _select_device(device)
        self._model = _load_checkpoint(model_folder, self._device, with_attention=options.word_times)
        # Otherwise the folder's configuration sets everything that a call leaves open.
        self._model.generation_config = GenerationConfig()
        self._extractor = WhisperFeatureExtractor.from_pretrained(model_folder, local_files_only=True)
        self._tokenizer = build_whisper_tokenizer(
            tokenizers.Tokenizer.from_file(str(model_folder / "tokenizer.json")),
            config.get("is_multilingual", True),
            model_folder,
            options,
        )
        self._prompt = [*self._tokenizer.sot_sequence, self._tokenizer.no_timestamps]
        self._processors = self._build_logits_processors(config.get("begin_suppress_tokens") or [])
        self.max_batch_clips = options.batch_size or (_GPU_BATCH_CLIPS if self._device.type == "cuda" else 1)
        self.parallel_batches = 1

    def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """See `Engine.transcribe`."""
        import torch

        began_s = time.perf_counter()
        with torch.inference_mode():
            encoded = self._encode(clips)
            written = self._generate_tokens(encoded)
            avg_logprobs, no_speech_probs = self._score_tokens(encoded, written)
            texts = [self._extract_text_tokens(row) for row in written.tolist()]
            words = [
                self._align_words(encoded[at : at + 1], clip, tokens) if self._options.word_times else ()
                for at, (clip, tokens) in enumerate(zip(clips, texts, strict=True))
            ]
        share_s = (time.perf_counter() - began_s) / len(clips)
        decoded = [self._tokenizer.decode(tokens).strip() for tokens in texts]
        return [
            build_whisper_hypothesis(clip, self._options, text, share_s, avg_logprob, no_speech_prob, spoken)
            for clip, text, avg_logprob, no_speech_prob, spoken in zip(
                clips, decoded, avg_logprobs, no_speech_probs, words, strict=True
            )
        ]

    def _encode(self, clips: Sequence[Clip]) -> torch.Tensor:
        """Return the encoder output of each clip padded with silence to 30 s, shape [n_clips, 1500, d_model]."""
        features = self._extractor(
            [np.asarray(each.audio) for each in clips], sampling_rate=SAMPLE_RATE, return_tensors="pt"
        ).input_features
        encoded: torch.Tensor = self._model.model.encoder(features.to(self._device)).last_hidden_state
        return encoded

    def _generate_tokens(self, encoded: torch.Tensor) -> torch.Tensor:
        """Return prompt and tokens of each clip, padded with the end token, shape [n_clips, n_tokens]."""
        import torch
        from transformers import GenerationConfig, GenerationMixin
        from transformers.modeling_outputs import BaseModelOutput

        options, end = self._options, self._tokenizer.eot
        search: dict[str, Any] = {"num_beams": options.beam_size, "do_sample": False}
        if options.temperature > 0:
            search = {"num_beams": 1, "do_sample": True, "temperature": options.temperature, "top_k": 0}
        elif options.beam_size > 1:
            search |= {"early_stopping": True, "length_penalty": options.length_penalty}
        prompt = torch.tensor([self._prompt] * len(encoded), device=self._device)
        # Whisper's own `generate` adds time stamps, windows and the folder's suppressed tokens; this one does not.
        written: torch.Tensor = GenerationMixin.generate(
            self._model,
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            attention_mask=torch.ones(encoded.shape[:2], device=self._device),
            decoder_input_ids=prompt,
            logits_processor=self._processors,
            generation_config=GenerationConfig(
                **search,
                max_new_tokens=self._limit_new_tokens(),
                decoder_start_token_id=self._tokenizer.sot,
                eos_token_id=end,
                pad_token_id=end,
                renormalize_logits=True,
            ),
        )
        return written

    def _limit_new_tokens(self) -> int:
        """Return half of the decoder's positions, the limit in every Whisper engine, or fewer if the options say so."""
        positions = int(self._model.config.max_target_positions)
        most = min(positions // 2, positions - len(self._prompt))
        return most if self._options.max_new_tokens is None else min(self._options.max_new_tokens, most)

    def _build_logits_processors(self, suppressed_at_start: list[int]) -> Any:
        from faster_whisper.transcribe import get_suppressed_tokens
        from transformers import (
            LogitsProcessorList,
            NoRepeatNGramLogitsProcessor,
            RepetitionPenaltyLogitsProcessor,
            SuppressTokensAtBeginLogitsProcessor,
            SuppressTokensLogitsProcessor,
        )

        options, processors = self._options, LogitsProcessorList()
        if options.repetition_penalty != 1.0:
            processors.append(RepetitionPenaltyLogitsProcessor(options.repetition_penalty))
        if options.no_repeat_ngram_size:
            processors.append(NoRepeatNGramLogitsProcessor(options.no_repeat_ngram_size))
        suppressed = list(get_suppressed_tokens(self._tokenizer, [-1]))
        processors.append(SuppressTokensLogitsProcessor(suppressed, device=str(self._device)))
        processors.append(
            SuppressTokensAtBeginLogitsProcessor(suppressed_at_start, len(self._prompt), device=str(self._device))
        )
        return processors

    def _score_tokens(self, encoded: torch.Tensor, written: torch.Tensor) -> tuple[list[float], list[float]]:
        """Return the average log-probability, end token included, and the no-speech probability of each clip.

        The decoder runs over the text once more in one pass, so that memory holds the logits of one step only.
        """
        import torch

        model, end = self._model, self._tokenizer.eot
        hidden = model.model.decoder(input_ids=written[:, :-1], encoder_hidden_states=encoded).last_hidden_state
        first = model.proj_out(hidden[:, 0]).softmax(-1)
        total = torch.zeros(len(written), device=self._device)
        lengths = torch.zeros_like(total)
        alive = torch.ones(len(written), dtype=torch.bool, device=self._device)
        for at in range(len(self._prompt), written.shape[1]):
            logits = self._processors(written[:, :at], model.proj_out(hidden[:, at - 1]))
            step = logits.log_softmax(-1).gather(1, written[:, at : at + 1])[:, 0]
            total += torch.where(alive, step, 0.0)
            alive &= written[:, at] != end
            lengths += alive
        return (total / (lengths + 1)).tolist(), first[:, self._tokenizer.no_speech].tolist()

    def _extract_text_tokens(self, written: list[int]) -> list[int]:
        tokens = written[len(self._prompt) :]
        end = self._tokenizer.eot
        return [token for token in tokens[: tokens.index(end) if end in tokens else None] if token < end]

    def _align_words(self, encoded: torch.Tensor, clip: Clip, tokens: list[int]) -> tuple[RecognisedWord, ...]:
        """Return the words of a clip, with times from the cross-attention; none where the text is too long to align.

        The method is that of https://github.com/openai/whisper/blob/main/whisper/timing.py. `encoded` is the encoder output
        of the clip, shape [1, 1500, d_model]; frames after the clip are silence.
        """
        import torch
        from transformers.models.whisper.generation_whisper import _dynamic_time_warping, _median_filter

        tokenizer = self._tokenizer
        row = [*self._prompt, *tokens, tokenizer.eot]
        if not tokens or len(row) > self._model.config.max_target_positions:
            return ()
        n_frames = max(_MIN_ALIGNED_FRAMES, int(np.ceil(len(clip.audio) / SAMPLE_RATE / _FRAME_S)))
        attentions = self._model.model.decoder(
            input_ids=torch.tensor([row], device=encoded.device), encoder_hidden_states=encoded, output_attentions=True
        ).cross_attentions
        weights = torch.stack([attentions[layer][0, head, :, :n_frames] for layer, head in self._heads])
        weights = weights / weights.sum(-1, keepdim=True)
        std, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
        filtered = _median_filter((weights - mean) / std, _ATTENTION_MEDIAN_WIDTH)
        matrix = filtered.mean(0)[len(tokenizer.sot_sequence) : -1]
        text_indices, time_indices = _dynamic_time_warping(-matrix.double().cpu().numpy())
        times_s = time_indices[np.diff(text_indices, prepend=-1) > 0] * _FRAME_S  # the start of each token
        words, word_tokens = tokenizer.split_to_word_tokens(row[len(self._prompt) :])
        # The last word is the end token; it starts where the word before it ends.
        bounds = np.cumsum([0, *(len(each) for each in word_tokens[:-1])])
        timings = [
            {"word": word, "tokens": own, "start": times_s[first], "end": times_s[end]}
            for word, own, first, end in zip(words[:-1], word_tokens[:-1], bounds[:-1], bounds[1:], strict=True)
        ]
        return build_recognised_words(timings, clip.duration_s)


def _read_configs(model_folder: Path) -> dict[str, Any]:
    """Return `generation_config.json` of a complete Whisper folder; raise `EvaluationError` if a file is missing."""
    missing = [name for name in _REQUIRED_CHECKPOINT_FILES if not (model_folder / name).is_file()]
    weights = ("model.safetensors", "model.safetensors.index.json")
    if not any((model_folder / name).is_file() for name in weights):
        missing.append("model.safetensors")
    if missing:
        raise EvaluationError(
            f"{model_folder} lacks {', '.join(missing)}; name a Transformers folder as `fine_tuned_checkpoint` "
            "writes it"
        )
    config, generation = (_read_json_object(model_folder / name) for name in ("config.json", "generation_config.json"))
    if config.get("model_type") != "whisper":
        raise EvaluationError(
            f"{model_folder}/config.json has model_type {config.get('model_type')!r}; this engine needs a 'whisper' model"
        )
    return {**generation, "layers": config.get("decoder_layers"), "heads": config.get("decoder_attention_heads")}


def _read_json_object(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except ValueError as error:
        raise EvaluationError(f"{file} is not a JSON object: {error}; copy it from the base model") from error


def _read_alignment_heads(model_folder: Path, config: dict[str, Any]) -> list[list[int]]:
    """Return the alignment heads as [layer, head]; raise `EvaluationError` if there are none or they do not exist."""
    heads: list[list[int]] = config.get("alignment_heads") or []
    if not heads or any(layer >= config["layers"] or head >= config["heads"] for layer, head in heads):
        raise EvaluationError(
            f"{model_folder}/generation_config.json has alignment_heads {heads}, and the decoder has {config['layers']} "
            f"layers with {config['heads']} heads; for word times copy alignment_heads from the base model of this "
            "size, or set word_times to false"
        )
    return heads


def _select_device(device: str) -> torch.device:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise EvaluationError("evaluation.device is cuda, but torch finds no GPU; set it to cpu or auto")
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if on_gpu:
        # Without this, convolutions use TensorFloat-32, and this engine is the reference for the others.
        torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if on_gpu else "cpu")


def _load_checkpoint(model_folder: Path, device: torch.device, *, with_attention: bool) -> Any:
    import torch
    from safetensors import SafetensorError
    from transformers import WhisperForConditionalGeneration

    try:
        model = WhisperForConditionalGeneration.from_pretrained(
            model_folder,
            dtype=torch.float32,
            attn_implementation="eager" if with_attention else "sdpa",
            local_files_only=True,
        )
        return model.to(device).eval()
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise EvaluationError(
            f"Transformers cannot load {model_folder} on {device}: {error}; train or download the checkpoint again, or "
            "set evaluation.device to cpu"
        ) from error
