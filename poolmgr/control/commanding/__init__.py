"""Commands to the fleet: how they are given, how far they got, and how a recycle is spread over time."""
