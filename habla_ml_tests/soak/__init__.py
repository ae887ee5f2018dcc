"""Long trials of a whole deployment: real daemon, code server and run processes, killed at random.

`chaos` and `soak` are programs (`make chaos`, `make soak`) and not part of the suite, except for a short chaos.
"""
