"""Whisper's mel spectrogram, encoder and decoder in WhisperKit's tensor layout.

Tensors are [1, channels, 1, time], which is fastest on the Neural Engine; linear layers are 1 × 1 convolutions. The
decoder takes one token per call. It reads whole key and value caches and returns only their new column, so the app
owns the memory. Only conversions import this module.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch  # noqa: TID253 - this module is imported by conversions only
from torch import Tensor, nn  # noqa: TID253 - as above
from torch.nn import functional  # noqa: TID253 - as above

from habla_ml.runtimes.interface import TARGET_POSITIONS

if TYPE_CHECKING:
    from transformers import WhisperForConditionalGeneration
    from transformers.models.whisper.modeling_whisper import WhisperAttention, WhisperDecoderLayer, WhisperEncoderLayer

N_FFT = 400
HOP_LENGTH = 160
N_FRAMES = 3000
QUERIES_PER_CHUNK = 256
"""Of `SplitAttention`; argmaxinc's value."""
_PRODUCT = "nchw,nwhu->nchu"
"""The letters with which MIL documents its operation `einsum`."""
_POWER_FLOOR = 1e-10
_DYNAMIC_RANGE_DECADES = 8.0


def load_modules(checkpoint: Path, *, splits_encoder_attention: bool = False) -> dict[str, nn.Module]:
    """Return the networks of a prepared checkpoint by program name; for splitting see `SplitAttention`."""
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    model = WhisperForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
    extractor = WhisperFeatureExtractor.from_pretrained(checkpoint)
    generation = json.loads((checkpoint / "generation_config.json").read_text(encoding="utf-8"))
    return {
        "MelSpectrogram": MelSpectrogram(torch.from_numpy(extractor.mel_filters)).eval(),
        "AudioEncoder": AudioEncoder(model, SplitAttention if splits_encoder_attention else Attention).eval(),
        "TextDecoder": TextDecoder(model, generation["alignment_heads"]).eval(),
    }


class MelSpectrogram(nn.Module):  # type: ignore[misc]
    """Audio [480000] to log-mel features [1, n_mels, 1, 3000], as Whisper's feature extractor computes them.

    The Fourier transform is a convolution with windowed cosines and sines, because coremltools 9 cannot convert
    `torch.stft` with numpy 2.4 (its issue #2633).
    """

    def __init__(self, mel_filters: Tensor) -> None:
        """Take the mel filter bank, [201, n_mels], of the checkpoint's feature extractor."""
        super().__init__()
        n_bins = N_FFT // 2 + 1
        time = torch.arange(N_FFT, dtype=torch.float64)
        angles = 2 * math.pi * torch.arange(n_bins, dtype=torch.float64)[:, None] * time[None, :] / N_FFT
        window = torch.hann_window(N_FFT, periodic=True, dtype=torch.float64)
        kernels = torch.cat([torch.cos(angles) * window, torch.sin(angles) * window])
        self.register_buffer("kernels", kernels.float().unsqueeze(1))
        self.register_buffer("mel_filters", mel_filters.T.float().contiguous().unsqueeze(-1))

    def forward(self, audio: Tensor) -> Tensor:
        """Compute the features; the last of the 3001 centred frames is dropped, as in Whisper."""
        padded = functional.pad(audio[None, None, :], (N_FFT // 2, N_FFT // 2), mode="reflect")
        spectrum = functional.conv1d(padded, self.get_buffer("kernels"), stride=HOP_LENGTH)[:, :, :N_FRAMES]
        real, imaginary = spectrum.chunk(2, dim=1)
        mel = functional.conv1d(real * real + imaginary * imaginary, self.get_buffer("mel_filters"))
        decades = torch.log(torch.clamp(mel, min=_POWER_FLOOR)) * (1.0 / math.log(10.0))
        loudest = torch.amax(decades, dim=(1, 2), keepdim=True)
        features = (torch.maximum(decades, loudest - _DYNAMIC_RANGE_DECADES) + 4.0) / 4.0
        return features.unsqueeze(2)


class AudioEncoder(nn.Module):  # type: ignore[misc]
    """Log-mel features [1, n_mels, 1, 3000] to encoder states [1, D, 1, 1500]."""

    def __init__(self, model: WhisperForConditionalGeneration, attention: type[Attention]) -> None:
        super().__init__()
        encoder = model.model.encoder
        self.conv1 = _build_convolution(encoder.conv1.weight[:, :, None, :], encoder.conv1.bias, padding=1)
        self.conv2 = _build_convolution(encoder.conv2.weight[:, :, None, :], encoder.conv2.bias, stride=2, padding=1)
        self.register_buffer("positions", encoder.embed_positions.weight.detach().T[None, :, None, :].clone())
        self.layers = nn.ModuleList(EncoderLayer(layer, attention) for layer in encoder.layers)
        self.norm = ChannelNorm(encoder.layer_norm)

    def forward(self, melspectrogram_features: Tensor) -> Tensor:
        """Encode one 30 s window."""
        states = functional.gelu(self.conv1(melspectrogram_features))
        states = functional.gelu(self.conv2(states)) + self.get_buffer("positions")
        for layer in self.layers:
            states = layer(states)
        return self.norm(states)


class TextDecoder(nn.Module):  # type: ignore[misc]
    """One token and the caches to the logits of the next token and the new column of each cache.

    `alignment_heads_weights` is the token's attention to the audio, averaged over the alignment heads; the app aligns
    words with it.
    """

    def __init__(self, model: WhisperForConditionalGeneration, alignment_heads: list[list[int]]) -> None:
        """Copy the weights; `alignment_heads` are the `[layer, head]` pairs of the generation config."""
        super().__init__()
        decoder = model.model.decoder
        self.embed_tokens = decoder.embed_tokens
        self.embed_positions = nn.Embedding.from_pretrained(decoder.embed_positions.weight.detach())
        self.layers = nn.ModuleList(DecoderLayer(layer) for layer in decoder.layers)
        self.norm = ChannelNorm(decoder.layer_norm)
        self.proj_out = model.proj_out
        self.alignment_heads = alignment_heads

    def forward(
        self,
        input_ids: Tensor,
        cache_length: Tensor,
        key_cache: Tensor,
        value_cache: Tensor,
        kv_cache_update_mask: Tensor,
        encoder_output_embeds: Tensor,
        decoder_key_padding_mask: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Decode one token; shapes as in `habla_ml.runtimes.interface`."""
        masks = kv_cache_update_mask, decoder_key_padding_mask
        logits, heads, layers = self.decode(
            input_ids, cache_length, (key_cache, value_cache), masks, encoder_output_embeds
        )
        key, value = (torch.cat([getattr(layer, name) for layer in layers], dim=1) for name in ("key", "value"))
        return logits, key, value, heads

    def decode(
        self,
        input_ids: Tensor,
        cache_length: Tensor,
        caches: tuple[Tensor, Tensor],
        masks: tuple[Tensor, Tensor],
        audio: Tensor,
    ) -> tuple[Tensor, Tensor, list[DecodedLayer]]:
        """Return the logits, the attention of the alignment heads, and the results of all layers.

        `caches` are those of keys and values, `masks` those of `kv_cache_update_mask` and `decoder_key_padding_mask`.
        """
        states = (self.embed_tokens(input_ids) + self.embed_positions(cache_length))[:, :, None, None]
        update, padding = (mask[:, None, None, :] for mask in masks)
        decoded: list[DecodedLayer] = []
        layer_caches = zip(*(cache.chunk(len(self.layers), 1) for cache in caches), strict=True)
        for layer, (keys, values) in zip(self.layers, layer_caches, strict=True):
            decoded.append(layer(states, keys, values, update, audio, padding))
            states = decoded[-1].states
        logits = self.proj_out(self.norm(states)[:, :, 0, 0][:, None, :])
        heads = torch.cat([decoded[layer].attention[:, head] for layer, head in self.alignment_heads], dim=1)
        return logits, heads.mean(dim=1), decoded


class StatefulTextDecoder(nn.Module):  # type: ignore[misc]
    """A text decoder that keeps its caches itself, as states of Core ML from iOS 18 on.

    The new caches replace the old ones as a whole, computed with the masks of `TextDecoder`. A write at a position would
    need an offset that changes from call to call, which no other operation of the programs has.
    """

    def __init__(self, decoder: TextDecoder) -> None:
        super().__init__()
        self.decoder = decoder
        shape = (1, decoder.embed_positions.embedding_dim * len(decoder.layers), 1, TARGET_POSITIONS)
        self.register_buffer("key_cache", torch.zeros(shape))
        self.register_buffer("value_cache", torch.zeros(shape))

    def forward(
        self,
        input_ids: Tensor,
        cache_length: Tensor,
        kv_cache_update_mask: Tensor,
        encoder_output_embeds: Tensor,
        decoder_key_padding_mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Decode one token and return logits and alignment; a text starts with empty caches."""
        masks = kv_cache_update_mask, decoder_key_padding_mask
        caches = self.get_buffer("key_cache"), self.get_buffer("value_cache")
        logits, heads, layers = self.decoder.decode(input_ids, cache_length, caches, masks, encoder_output_embeds)
        self.get_buffer("key_cache")[:] = torch.cat([layer.keys for layer in layers], dim=1)
        self.get_buffer("value_cache")[:] = torch.cat([layer.values for layer in layers], dim=1)
        return logits, heads


class EncoderLayer(nn.Module):  # type: ignore[misc]
    """One pre-norm transformer layer over the audio."""

    def __init__(self, layer: WhisperEncoderLayer, attention: type[Attention]) -> None:
        super().__init__()
        self.attention_norm = ChannelNorm(layer.self_attn_layer_norm)
        self.attention = attention(layer.self_attn)
        self.feed_forward = FeedForward(layer)

    def forward(self, states: Tensor) -> Tensor:
        """Map [1, D, 1, 1500] to the same shape."""
        normed = self.attention_norm(states)
        attended = self.attention.attend(normed, self.attention.keys(normed), self.attention.values(normed))
        return self.feed_forward(states + attended)


class DecodedLayer(NamedTuple):
    """What a layer of the decoder computes from one token."""

    states: Tensor
    """[1, D, 1, 1]."""
    key: Tensor
    """Of the token, [1, D, 1, 1]."""
    value: Tensor
    keys: Tensor
    """Of all tokens so far, [1, D, 1, 448]."""
    values: Tensor
    attention: Tensor
    """To the audio, [1, heads, 1, 1500]."""


class DecoderLayer(nn.Module):  # type: ignore[misc]
    """One pre-norm transformer layer over the previous tokens and the audio."""

    def __init__(self, layer: WhisperDecoderLayer) -> None:
        super().__init__()
        self.attention_norm = ChannelNorm(layer.self_attn_layer_norm)
        self.attention = Attention(layer.self_attn)
        self.audio_norm = ChannelNorm(layer.encoder_attn_layer_norm)
        self.audio_attention = Attention(layer.encoder_attn)
        self.feed_forward = FeedForward(layer)

    def forward(
        self, states: Tensor, old_keys: Tensor, old_values: Tensor, update: Tensor, audio: Tensor, padding: Tensor
    ) -> DecodedLayer:
        """Decode one token; `old_keys` and `old_values` are those of the tokens before, [1, D, 1, 448]."""
        normed = self.attention_norm(states)
        key, value = self.attention.keys(normed), self.attention.values(normed)
        keys = old_keys * (1.0 - update) + key * update
        values = old_values * (1.0 - update) + value * update
        attended, _ = self.attention(normed, keys, values, padding)
        states = states + attended
        normed = self.audio_norm(states)
        attended, weights = self.audio_attention(
            normed, self.audio_attention.keys(audio), self.audio_attention.values(audio), None
        )
        return DecodedLayer(self.feed_forward(states + attended), key, value, keys, values, weights)


class Attention(nn.Module):  # type: ignore[misc]
    """Multi-head attention over the last axis; queries, keys and values are [1, D, 1, time]."""

    def __init__(self, attention: WhisperAttention) -> None:
        super().__init__()
        self.n_heads = int(attention.num_heads)
        self.scale = float(attention.scaling)
        self.queries = _build_pointwise_convolution(attention.q_proj)
        self.keys = _build_pointwise_convolution(attention.k_proj)
        self.values = _build_pointwise_convolution(attention.v_proj)
        self.out = _build_pointwise_convolution(attention.out_proj)

    def forward(self, states: Tensor, keys: Tensor, values: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the attended states and the weights [1, heads, queries, keys]; `padding` is added to scores."""
        queries = self._heads(self.queries(states) * self.scale)
        scores = queries.transpose(2, 3) @ self._heads(keys)
        if padding is not None:
            scores = scores + padding
        weights = scores.softmax(dim=-1)
        attended = self._heads(values) @ weights.transpose(2, 3)
        return self.out(attended.reshape(1, -1, 1, states.shape[3])), weights

    def attend(self, states: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return the attended states only, without padding."""
        return self(states, keys, values, None)[0]

    def _heads(self, states: Tensor) -> Tensor:
        return states.reshape(1, self.n_heads, -1, states.shape[3])


class SplitAttention(Attention):
    """Attention head by head and in chunks of 256 queries, with the results of `Attention`.

    argmaxinc's converter uses this form by default in the encoder, for the Neural Engine, where it is called
    `SplitHeadsQ`. The largest tensor is [1, 1500, 1, 256], in place of [1, heads, 1500, 1500], and each product becomes
    the operation `einsum` of MIL, which needs no other layout of the tensors.
    """

    def attend(self, states: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return the attended states."""
        queries = (self.queries(states) * self.scale).chunk(self.n_heads, dim=1)
        by_time = keys.transpose(1, 3).chunk(self.n_heads, dim=3)
        heads = zip(queries, by_time, values.chunk(self.n_heads, dim=1), strict=True)
        return self.out(torch.cat([self._attend_head(*head) for head in heads], dim=1))

    def _attend_head(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return [1, D / heads, 1, queries]; `keys` are [1, keys, 1, D / heads]."""
        attended = []
        for chunk in queries.split(QUERIES_PER_CHUNK, dim=3):
            weights = torch.einsum(_PRODUCT, keys, chunk).softmax(dim=1)
            attended.append(torch.einsum(_PRODUCT, values, weights))
        return torch.cat(attended, dim=3)


class FeedForward(nn.Module):  # type: ignore[misc]
    """The feed-forward half of a transformer layer, including the residual connection."""

    def __init__(self, layer: WhisperEncoderLayer | WhisperDecoderLayer) -> None:
        super().__init__()
        self.norm = ChannelNorm(layer.final_layer_norm)
        self.widen = _build_pointwise_convolution(layer.fc1)
        self.narrow = _build_pointwise_convolution(layer.fc2)

    def forward(self, states: Tensor) -> Tensor:
        """Map [1, D, 1, time] to the same shape."""
        return states + self.narrow(functional.gelu(self.widen(self.norm(states))))


class ChannelNorm(nn.Module):  # type: ignore[misc]
    """Layer normalisation over the channel axis of [1, D, 1, time]; coremltools fuses it into one operation."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.epsilon = norm.eps
        self.register_buffer("weight", norm.weight.detach().clone()[None, :, None, None])
        self.register_buffer("bias", norm.bias.detach().clone()[None, :, None, None])

    def forward(self, states: Tensor) -> Tensor:
        """Normalise each time step over its channels."""
        centred = states - states.mean(dim=1, keepdim=True)
        scale = ((centred * centred).mean(dim=1, keepdim=True) + self.epsilon).rsqrt()
        return centred * scale * self.get_buffer("weight") + self.get_buffer("bias")


def _build_pointwise_convolution(linear: nn.Linear) -> nn.Conv2d:
    return _build_convolution(linear.weight[:, :, None, None], linear.bias)


def _build_convolution(weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    """Return a convolution over time with these weights, [out, in, 1, kernel]."""
    out_channels, in_channels, *kernel = weight.shape
    layer = nn.Conv2d(in_channels, out_channels, kernel, (1, stride), (0, padding), bias=bias is not None)
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return layer
