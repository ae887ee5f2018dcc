"""The versions of iOS that the phone's programs are written for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class CoreMLTarget:
    """The oldest system that loads the programs."""

    minimum_ios: int
    specification_version: int
    """Of Core ML; coremltools writes it for this system."""
    is_stateful: bool = False
    """The decoder keeps its caches as states. WhisperKit cannot call it; docs/app_developers.md has a decoder that can."""


COREML_TARGETS: Final = {
    "iOS16": CoreMLTarget(16, 7),
    "iOS17": CoreMLTarget(17, 8),
    "iOS18": CoreMLTarget(18, 9),
    "iOS18-stateful": CoreMLTarget(18, 9, is_stateful=True),
}
