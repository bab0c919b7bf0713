"""What the pages read: the fleet as it is now, once for all who look."""
