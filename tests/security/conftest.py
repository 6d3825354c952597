"""The application on a port, and a vault that is set up, with a tiny base."""

from tests.daemon.conftest import settings, state
from tests.server.conftest import api

__all__ = ["api", "settings", "state"]
