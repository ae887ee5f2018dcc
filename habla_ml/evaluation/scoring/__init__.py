"""Text normalisation, word alignment, error counts, and confidence intervals."""
