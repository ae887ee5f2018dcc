"""Delimited tables as people and programs write them. The only reader of CSV and TSV files in the project.

Knows encodings, separators, quotes and line ends; what the columns mean belongs to the callers.
"""
