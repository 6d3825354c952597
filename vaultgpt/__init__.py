"""vaultgpt: a daemon beside a Markdown vault that learns to write like its author."""

__version__ = "0.1.0"
