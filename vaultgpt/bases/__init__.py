"""Base models: the embedded pebble, a folder, or a pinned revision from the Hugging Face hub.

Knows nothing about training or writing. Imports neither torch nor transformers.
"""

from vaultgpt.bases.hub import download
from vaultgpt.bases.model import Base, inspect
from vaultgpt.bases.store import base_of_generation, keep_embedded, resolve, verify

__all__ = [
    "Base", "base_of_generation", "download", "inspect", "keep_embedded", "resolve", "verify",
]
