"""What the process of `vaultgpt serve` becomes: a daemon in which the command line never was.

typer and rich would stay in its memory for ever, 10 MB in each; they are imported only to say what
went wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

from vaultgpt import children


class ToServe(NamedTuple):
    """What is to be served: a vault, or every known one, with the folder of the service's log."""

    vault: str | None
    port: int | None
    as_json: bool
    logs: str


def begin(wanted: ToServe) -> None:
    """Serve, in this very process made new where the system can do that. VaultGPTError."""
    if os.name == "posix":
        sys.stdout.flush()
        line = children.command(__name__, json.dumps(wanted))
        os.execv(line[0], line)
    _serve(wanted)


def _serve(wanted: ToServe) -> None:
    if wanted.vault is None:
        from vaultgpt.daemon.every import serve_all

        serve_all(Path(wanted.logs), _say)
        return
    from vaultgpt.daemon.serving import serve
    from vaultgpt.settings import load_settings
    from vaultgpt.state import find_state

    state = find_state(Path(wanted.vault))
    serve(state, load_settings(state.config), wanted.port, wanted.as_json)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it, or it is full: the daemons serve on
        print(line, flush=True)


def main() -> None:
    """Serve until told to stop; what goes wrong is said as by any command."""
    children.no_core()  # what `cli` asked for does not outlive exec
    wanted = ToServe(*json.loads(sys.argv[1]))
    try:
        _serve(wanted)
    except (Exception, KeyboardInterrupt) as error:
        from vaultgpt.commands.common import failed

        sys.exit(failed(error, wanted.as_json))


if __name__ == "__main__":
    main()
