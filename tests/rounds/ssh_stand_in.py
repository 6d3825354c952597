"""In ssh's place: `python ssh_stand_in.py HOME ... -- HOST COMMAND` runs it with another home.

HOME/cut.json, {"up": bytes, "down": bytes}, ends a line once so much has gone that way; once each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

HOME = Path(sys.argv[1])
CUT = HOME / "cut.json"


def left(way: str) -> int | None:
    """Bytes that may still go that way on this line."""
    found = json.loads(CUT.read_text()).get(way) if CUT.exists() else None
    return int(found) if found is not None else None


def pump(way: str, source: int, target: IO[bytes]) -> None:
    limit = left(way)
    while data := os.read(source, 1 << 16):
        if limit is not None:
            limit -= len(data)
            if limit < 0:
                rest = json.loads(CUT.read_text())
                del rest[way]
                CUT.write_text(json.dumps(rest))
                os._exit(255)
        target.write(data)
        target.flush()
    target.close()


def main() -> int:
    host, command = sys.argv[sys.argv.index("--") + 1 :]
    with open(HOME / "calls", "a") as calls:
        calls.write(f"{host} {command}\n")
    place = HOME / "home"
    place.mkdir(exist_ok=True)
    child = subprocess.Popen(
        ["sh", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=place,
        env={**os.environ, "VAULTGPT_HOME": str(place / "vaultgpt"), "HOME": str(place)},
    )
    assert child.stdin is not None and child.stdout is not None
    threading.Thread(target=pump, args=("up", 0, child.stdin), daemon=True).start()
    pump("down", child.stdout.fileno(), sys.stdout.buffer)
    return child.wait()


if __name__ == "__main__":
    os._exit(main())
