"""Base models: the embedded pebble, a folder, a GGUF file, or a pinned revision from the hub.

Knows nothing about training or writing. Imports neither torch nor transformers, and what fetches
one only for who fetches.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vaultgpt.bases.model import Base, inspect
from vaultgpt.bases.names import base_of_generation, keep_embedded, remarks, resolve

if TYPE_CHECKING:
    from vaultgpt.bases.estimate import advised, fitting, this_machine
    from vaultgpt.bases.fetch import download
    from vaultgpt.bases.hashes import verify

__all__ = [
    "Base",
    "advised",
    "base_of_generation",
    "download",
    "fitting",
    "inspect",
    "keep_embedded",
    "remarks",
    "resolve",
    "this_machine",
    "verify",
]
_IN = {
    "advised": "estimate",
    "download": "fetch",
    "fitting": "estimate",
    "this_machine": "estimate",
    "verify": "hashes",
}


def __getattr__(name: str) -> Any:
    if name not in _IN:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"{__name__}.{_IN[name]}"), name)
