"""The HTTP API. Knows the rest of the daemon only through `context.Service`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

_PLACES = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # where OpenSSL looks for them


@contextlib.contextmanager
def without_certificates() -> Iterator[None]:
    """For the first import of aiohttp, whose client reads the system's certificates then: 2.5 MB,
    which nobody asks for here."""
    before = {name: os.environ.get(name) for name in _PLACES}
    os.environ.update(dict.fromkeys(_PLACES, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
