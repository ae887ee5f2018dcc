"""Who contributed what under which consent, and how a withdrawn one reaches everything.

`register`, `tombstones` and `admission` stand below the recordings, which ask them; `erase` stands above the
evaluation, whose reports it writes again. So this package offers nothing itself: import its modules.
"""
