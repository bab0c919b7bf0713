"""Looking on while the database that knows who may see the console is away."""
