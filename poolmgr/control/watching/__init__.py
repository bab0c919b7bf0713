"""What was wrong with the fleet: one process looks, and keeps episodes of it."""
