"""How a profile is changed, and what is said before it is."""
