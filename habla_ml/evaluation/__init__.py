"""Scores recognisers as they are served, compares versions on the same speech, and decides on promotion.

What belongs here: decoding for evaluation, the normaliser and the scorer, statistics, the comparison, the
promotion rule and the report. How a model was trained or converted does not.
"""
