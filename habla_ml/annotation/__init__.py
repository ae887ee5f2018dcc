"""Annotation: the append-only log of annotation events, the review queue, and the sources of the events."""
