"""`python -m vaultgpt` is the same as `vaultgpt`."""

from vaultgpt.cli import main

main()
