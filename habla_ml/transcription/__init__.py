"""Engines that turn speech into text behind one protocol, each in a process of its own with a limit on time.

What belongs here: engines and their options, what they heard, transcripts with times and their files. How good a text
is, and the cache of what was heard, is evaluation's.
"""
