"""What was wrong with the fleet, and how it was: one process looks, and keeps episodes of it and samples."""
