"""The worker processes as the supervisor sees them: the mirror, the trainer, the measuring one.

Knows nothing about torch. Words of the author go through pipes, never through arguments.
"""

from vaultgpt.workers.elsewhere import Lender, run_elsewhere
from vaultgpt.workers.jobs import run_trainer, run_voice
from vaultgpt.workers.mirror import SHARED, MirrorProcess, Opening, mirror_opening
from vaultgpt.workers.process import RoundStopped, idle_threads

__all__ = [
    "SHARED",
    "Lender",
    "MirrorProcess",
    "Opening",
    "RoundStopped",
    "idle_threads",
    "mirror_opening",
    "run_elsewhere",
    "run_trainer",
    "run_voice",
]
