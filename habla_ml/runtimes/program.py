"""A saved program that can be called, whatever runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Program(Protocol):
    """One of the three programs; several threads may call it."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the outputs by name, as float32.

        Raises:
            ExportError: An input is missing, or a result is not finite.
        """

    def bind(self, inputs: Mapping[str, Tensor]) -> Program:
        """Return the program with some inputs fixed, so that it can compute what depends on them alone only once."""
