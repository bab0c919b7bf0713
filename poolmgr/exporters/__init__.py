"""The figures of pools for other people's monitoring: the fleet's for Prometheus, each process's for OpenTelemetry."""
