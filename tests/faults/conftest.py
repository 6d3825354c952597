"""A vault that is set up, with a tiny base."""

from tests.daemon.conftest import settings, state

__all__ = ["settings", "state"]
