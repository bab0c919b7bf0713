"""The connections of the pool in the hands of tasks, of whichever event loop."""
