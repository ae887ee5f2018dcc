"""Orchestration: the only room that knows Dagster. Assets resolve inputs, call the domain, present the result.

No computing belongs here: what an asset does must be callable without Dagster.
"""
