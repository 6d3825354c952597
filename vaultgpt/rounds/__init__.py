"""One training round from the vault as it stands to a verdict, and the mending after a crash."""

from vaultgpt.rounds.mend import repair, replace_damaged
from vaultgpt.rounds.outcome import RoundAnswer
from vaultgpt.rounds.run import run_round, what_is_due
from vaultgpt.rounds.under_way import RoundProgress, how_far, under_way

__all__ = [
    "RoundAnswer",
    "RoundProgress",
    "how_far",
    "repair",
    "replace_damaged",
    "run_round",
    "under_way",
    "what_is_due",
]
