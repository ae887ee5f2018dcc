"""A bundle: everything for the training of one version on a machine without access to the lake, and its result back.

`create` writes it, `training` is the program that it brings along, and `result` checks and publishes what comes back.
"""
