"""Whether a version may be released, and whether more training speech is worth collecting."""
