"""The core for connections that live in an event loop."""
