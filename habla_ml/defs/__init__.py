"""Orchestration with Dagster, by topic: corpus, models, releases, monitoring.

The `build` function of a topic returns its assets, checks, sensors and schedules. An asset resolves its inputs, calls
the domain and presents the result; everything that computes lives in a package that does not import Dagster.
"""
