"""Hosted speech recognition services, each through its own client library.

One module for each service, and what they share: costs and spending caps, retries, checks of their answers. Nothing here
runs unless `evaluation.hosted` configures the service, because it sends recordings of people to a company.
"""
