"""The files of a PgBouncer: what they say, what they should, and how they are replaced."""
