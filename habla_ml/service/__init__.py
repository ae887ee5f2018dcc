"""The service: an HTTP API for apps, and pages for teachers. `app.py` builds it from the routers of `api/` and `pages/`."""
