"""A released model version in a private repository of the Hub, with a model card."""
