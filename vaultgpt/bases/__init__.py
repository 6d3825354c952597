"""Base models: the embedded pebble, a folder, a GGUF file, or a pinned revision from the hub.

Knows nothing about training or writing. Imports neither torch nor transformers.
"""

from vaultgpt.bases.estimate import advised, fitting, this_machine
from vaultgpt.bases.fetch import download
from vaultgpt.bases.hashes import verify
from vaultgpt.bases.model import Base, inspect
from vaultgpt.bases.names import base_of_generation, keep_embedded, remarks, resolve

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
