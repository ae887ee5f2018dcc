"""Metrics of recognisers, one module for each kind. Add a new metric to `registry`."""
