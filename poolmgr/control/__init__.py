"""Control of the fleet: what every process should do, and what all of them report."""
