"""Models under test on the same speech: decode, score, compare in pairs, and store the evidence."""
