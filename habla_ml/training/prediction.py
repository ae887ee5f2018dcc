"""One pass of a validation: the loss of given labels, and greedily decoded text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from habla_ml.training.silence import find_silent_clips
from habla_ml.training.targets import IGNORED_LABEL, MAX_DECODER_POSITIONS, PROMPT_POSITIONS
from habla_ml.training.windows import limit_encoder_window

if TYPE_CHECKING:
    import torch


def predict(
    model: Any,
    features: torch.Tensor,
    inputs: dict[str, torch.Tensor],
    no_speech_id: int | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits of the given decoder inputs [clips, positions, vocabulary] and greedily decoded ids [clips, longest].

    The clips are encoded once for both. Clips without speech have no ids where the served model writes nothing.
    """
    decoder_input_ids = inputs["decoder_input_ids"]
    n_frames, positions = features.shape[-1], decoder_input_ids.shape[-1]
    with limit_encoder_window(model.get_encoder(), n_frames):
        encoded = model.get_encoder()(features)
        logits = model(encoder_outputs=encoded, decoder_input_ids=decoder_input_ids, use_cache=False).logits
        # A hypothesis of twice the length of the longest label is wrong in any case.
        ids = model.generate(encoder_outputs=encoded, max_length=min(MAX_DECODER_POSITIONS, 2 * positions + 8))
        if no_speech_id is not None and (is_non_speech := inputs["labels"][:, 0] == no_speech_id).any():
            is_silent = find_silent_clips(model, encoded, decoder_input_ids[:, :PROMPT_POSITIONS], ids, no_speech_id)
            ids = ids.masked_fill((is_non_speech & is_silent)[:, None], IGNORED_LABEL)
    return logits, ids
