"""The corpus: conventions, the text of each day, splits and snapshots, export."""
