"""What the kinds share that speak to PostgreSQL, by whatever library."""
