"""Whether a served model writes text for a clip: the rule of faster-whisper, in PyTorch, during validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch

NO_SPEECH_THRESHOLD: Final = 0.6
LOG_PROB_THRESHOLD: Final = -1.0
"""Defaults of faster-whisper: silence is more likely than the first, and the text less likely than the second."""


def find_silent_clips(
    model: Any, encoded: Any, prompt: torch.Tensor, ids: torch.Tensor, no_speech_id: int
) -> torch.Tensor:
    """Return for which clips no text is served, bool [clips].

    Args:
        model: A `WhisperForConditionalGeneration`.
        encoded: The encoder's output for the clips.
        prompt: Decoder inputs before the text, [clips, prompt].
        ids: Greedily decoded text, filled up with end tokens, [clips, longest].
        no_speech_id: Id of `<|nospeech|>`.
    """
    import torch

    config, end_id = model.generation_config, model.config.eos_token_id
    n_prompt = prompt.shape[1]
    logits = model(
        encoder_outputs=encoded, decoder_input_ids=torch.cat([prompt, ids], 1), use_cache=False
    ).logits.float()
    no_speech = logits[:, 0].softmax(-1)[:, no_speech_id]
    text = logits[:, n_prompt - 1 :].clone()
    text[..., list(config.suppress_tokens or ())] = -torch.inf
    text[:, 0, list(config.begin_suppress_tokens or ())] = -torch.inf
    targets = torch.cat([ids, torch.full_like(ids[:, :1], end_id)], 1)
    log_probs = text.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    is_text = targets.ne(end_id)
    # The first end token counts too.
    counts = torch.cat([torch.ones_like(is_text[:, :1]), is_text[:, :-1]], 1)
    mean = log_probs.masked_fill(~counts, 0.0).sum(1) / counts.sum(1)
    silent: torch.Tensor = (no_speech > NO_SPEECH_THRESHOLD) & (mean < LOG_PROB_THRESHOLD)
    return silent | ~is_text.any(1)
