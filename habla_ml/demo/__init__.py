"""A synthetic Andalusian classroom, and the small base model that the demo fine-tunes."""
