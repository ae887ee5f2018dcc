"""Metric modules in the form that `evaluate.load` opens from a path, without a hub."""
