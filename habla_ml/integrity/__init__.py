"""Whether a lake is whole: what its pointers need, what is missing or damaged, and what that means for its user."""
