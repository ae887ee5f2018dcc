"""Normalise, align and count words; intervals by bootstrap."""
