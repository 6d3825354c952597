"""The process that writes a voice's LoRA as GGUF: one job from standard input, one file.

A process of its own because it needs torch and transformers, and the mirror may run without.
Knows nothing about engines.
"""

from __future__ import annotations

import sys
from pathlib import Path

from vaultgpt.children import no_core
from vaultgpt.wire import private_stdout, read_frame


def main() -> int:
    """0 when job["path"] stands; the job names the base's and the generation's folders too."""
    no_core()
    private_stdout()
    job = read_frame(sys.stdin.buffer)
    if job is None:
        return 1
    from vaultgpt.training.lora import load_adapter
    from vaultgpt.training.to_gguf import write_adapter

    write_adapter(Path(job["base"]), load_adapter(Path(job["generation"])), Path(job["path"]))
    Path(job["path"]).chmod(0o600)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
