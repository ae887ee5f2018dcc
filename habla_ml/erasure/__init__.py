"""Erasure: find, rewrite and delete everything that the lake holds of a contributor."""
