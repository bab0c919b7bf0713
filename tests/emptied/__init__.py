"""An app whose `flush` empties the tables after a test in one statement instead of in fifty."""
