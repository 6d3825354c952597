"""The program: `vaultgpt`, and `python -m vaultgpt`.

Imports nothing before it can be interrupted: what a command imports takes a second on a slow disk.
"""

import sys


def main() -> None:
    """The command line, from the first import on; 130 where Ctrl-C ends it."""
    try:
        from vaultgpt import cli

        cli.main()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
