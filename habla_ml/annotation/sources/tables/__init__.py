"""Tables of transcripts: their rows become annotation events, and their new clips become recordings."""
