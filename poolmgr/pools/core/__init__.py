"""A pool for libraries that have none worth keeping: whatever is common to them, on a driver of a few functions."""
