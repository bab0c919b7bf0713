"""The console's documents and orders over HTTP, for programs; docs/api.md describes them."""
