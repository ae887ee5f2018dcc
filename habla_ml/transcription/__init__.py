"""Engines that turn speech into text behind one interface, the cache of their hypotheses, and transcripts of files.

Each local engine runs in its own process with a time limit per clip. Scores and comparisons belong to evaluation.
"""
