"""Any models, engines, options and quantisations beside each other on the same sounds, for no release.

What belongs here: who enters, on which speech they meet, and the run. How they are scored is evaluation's.
"""
