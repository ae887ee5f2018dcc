"""Log-mel spectrograms of a batch, computed where the model is.

The feature extractor computes in the data loader, on the CPU: two workers cannot feed a large GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class LogMel:
    """Features equal to those of a `WhisperFeatureExtractor`, within 1e-4.

    Args:
        extractor: The model's own `WhisperFeatureExtractor`; its filters, window and hop are used.
        device: Device of the results.
    """

    def __init__(self, extractor: Any, device: torch.device) -> None:
        import torch

        self._n_fft, self._hop = extractor.n_fft, extractor.hop_length
        self._window = torch.hann_window(self._n_fft, device=device)
        self._filters = torch.from_numpy(extractor.mel_filters.T).to(device, torch.float32)

    def __call__(self, audio: torch.Tensor) -> torch.Tensor:
        """Return float32 [clips, mels, samples / 160] of float32 samples [clips, samples], −1…1, with zeros after each clip."""
        import torch

        with torch.no_grad(), torch.autocast(audio.device.type, enabled=False):
            spectrum = torch.stft(audio, self._n_fft, self._hop, window=self._window, return_complex=True)
            power = torch.view_as_real(spectrum[..., :-1]).square().sum(-1)
            logarithm = (self._filters @ power).clamp(min=1e-10).log10()
            # Whisper limits each clip to 80 dB below its loudest point.
            floor = logarithm.amax(dim=(1, 2), keepdim=True) - 8.0
            return (torch.maximum(logarithm, floor) + 4.0) / 4.0
