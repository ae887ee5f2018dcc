"""Monitoring of the released model: weekly quality on new corrections, drift of quality and inputs, and alerts.

Decisions about candidates belong to `evaluation`.
"""
