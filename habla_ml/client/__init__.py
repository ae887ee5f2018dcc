"""A client of the service, for apps in Python and for tests: an offline queue, retries and updates."""
