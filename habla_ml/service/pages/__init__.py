"""The pages for people: server-rendered HTML, one module for each page."""
