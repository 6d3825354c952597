"""One training round from the vault as it stands to a verdict, and the mending after a crash."""

from vaultgpt.rounds.mend import repair
from vaultgpt.rounds.run import Trainer, run_round, what_is_due

__all__ = ["Trainer", "repair", "run_round", "what_is_due"]
