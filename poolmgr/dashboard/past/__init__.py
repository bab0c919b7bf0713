"""What was: the page of history, and that of what happened."""
