"""Backups of a lake in a folder or a bucket, and their restore into an empty lake."""
