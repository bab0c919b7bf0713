"""The demo application: a search over the documentation of Python's standard library."""
