"""Releases: the gate, archives, signed manifests, channels and rollbacks.

Evaluation and conversion of models do not belong here.
"""
