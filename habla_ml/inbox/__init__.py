"""What the service received and keeps: clips, corrections, answers, consents, devices and accounts.

One database (SQLite in a file, or PostgreSQL) has the facts, and one store has the bytes of the clips. The service writes
both; the pipeline reads them.
"""
