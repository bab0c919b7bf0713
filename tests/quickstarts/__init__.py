"""The quick starts of packages that people put beside the backend, each as a site of its own that is served under load."""
