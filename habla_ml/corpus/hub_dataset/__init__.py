"""Snapshots of the corpus in a private dataset repository of the Hub: layout, card, record in the lake, and upload."""
