"""The decoder of one window, called token by token as WhisperKit calls it: the caller keeps the caches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from habla_ml.errors import ExportError
from habla_ml.runtimes.interface import CACHE_NAMES, TARGET_POSITIONS, ModelShape
from habla_ml.runtimes.program import Program

if TYPE_CHECKING:
    from torch import Tensor


class CachedDecoder:
    """The key and value caches of one text, and the audio that it is about."""

    def __init__(self, decoder: Program, shape: ModelShape) -> None:
        """Start an empty text; `decoder` is a TextDecoder whose `encoder_output_embeds` are bound."""
        import torch

        channels = shape.d_model * shape.decoder_layers
        self._decoder = decoder
        self._caches = {name: torch.zeros(1, channels, 1, TARGET_POSITIONS) for name in CACHE_NAMES}
        self._padding = torch.full((1, TARGET_POSITIONS), -10_000.0)
        self._tokens = 0

    def add_token(self, token: int) -> tuple[Tensor, Tensor]:
        """Return the logits of the next token, [V], and the attention of this one to the audio, [1500].

        Raises:
            ExportError: The caches are full, or a result is not finite.
        """
        import torch

        position = self._tokens
        if position >= TARGET_POSITIONS:
            raise ExportError(f"a text has more than {TARGET_POSITIONS} tokens; stop decoding before that")
        self._padding[0, position] = 0.0
        update = torch.zeros(1, TARGET_POSITIONS)
        update[0, position] = 1.0
        out: Any = self._decoder(
            {
                "input_ids": torch.tensor([token]),
                "cache_length": torch.tensor([position]),
                **self._caches,
                "kv_cache_update_mask": update,
                "decoder_key_padding_mask": self._padding,
            }
        )
        for name, cache in self._caches.items():
            if f"{name}_updates" in out:  # a stateful decoder has changed the caches itself
                cache[..., position] = out[f"{name}_updates"][..., 0]
        self._tokens += 1
        return out["logits"][0, 0], out["alignment_heads_weights"][0]
