"""Review: which segments to annotate next, and why.

This package collects unannotated segments, transcribes them with the released model, ranks them and chooses within a
budget of minutes. `annotation` stores the queue and connects the tools in which people work on it.
"""
