"""The released version after its release: is it still as good, and does its audience still sound the same.

What belongs here: weekly quality from fresh human corrections, drift of quality and of inputs, and telling somebody.
Decisions about candidates are evaluation's.
"""
