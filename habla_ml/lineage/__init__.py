"""From a recording to the snapshots, model versions and releases that used it, and back. Reads only; keeps no index of its own.

The links are in what other packages store: days of recordings, snapshots, plans, records, reports, manifests, channels.
"""
