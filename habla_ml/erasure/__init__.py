"""Find, rewrite and delete all data of a contributor in the lake."""
