"""The pages of one target and of one process, and what Prometheus reads."""
