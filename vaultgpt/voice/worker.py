"""The measuring process: one VoiceJob from standard input, progress and figures on standard output.

It is the trainer's process with other work: the same frames, priority and way of leaving.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from vaultgpt.training import worker


def study(job: Path, say: worker.Say, stop: threading.Event, _began: float) -> dict[str, Any]:
    """The figures of the VoiceJob in `job`."""
    from vaultgpt.voice.job import read_voice_job
    from vaultgpt.voice.study import Study

    def tell(phase: str, fraction: float) -> None:
        say({"event": "progress", "phase": phase, "fraction": fraction})

    return Study(read_voice_job(job), tell, stop).run()


if __name__ == "__main__":
    # Not sys.exit: finalising aborts (SIGABRT) while the watching thread waits in standard input.
    os._exit(worker.main(study, "measuring of the voice"))
