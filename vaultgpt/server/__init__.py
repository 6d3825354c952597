"""The HTTP API. Knows the rest of the daemon only through `context.Service`."""
