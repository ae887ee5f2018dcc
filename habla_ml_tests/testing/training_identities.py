"""The identity of a training that never runs."""

from __future__ import annotations

from habla_ml.training.identity import RunIdentity


def make_identity(snapshot: str = "5" * 64, device: str = "cpu") -> RunIdentity:
    """Return an identity on a snapshot and a device."""
    return RunIdentity(
        recipe="1" * 64,
        snapshot=snapshot,
        base_model="2" * 64,
        replay="",
        labels="test",
        seed=1,
        code="test",
        packages={"torch": "1"},
        device=device,
        precision="fp32",
    )
