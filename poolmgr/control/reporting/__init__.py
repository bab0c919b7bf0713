"""What the fleet tells of itself, and what checks find that are made now."""
