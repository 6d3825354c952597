"""vaultgpt: a daemon beside a Markdown vault that learns to write like its author."""

import os

__version__ = "0.1.0"

# pydantic would look through every installed package for plugins: 25 ms of each command.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
