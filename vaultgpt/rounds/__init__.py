"""One training round from the vault as it stands to a verdict, and the mending after a crash.

What is under way is told at once; the rest is imported by its first user (0.3 s, which a command
that asks the daemon does not have).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vaultgpt.rounds.under_way import RoundProgress, how_far, under_way

if TYPE_CHECKING:
    from vaultgpt.rounds.mend import end_paused, must_stop, repair, replace_damaged
    from vaultgpt.rounds.outcome import RoundAnswer
    from vaultgpt.rounds.run import run_round, what_is_due

__all__ = [
    "RoundAnswer",
    "RoundProgress",
    "end_paused",
    "how_far",
    "must_stop",
    "repair",
    "replace_damaged",
    "run_round",
    "under_way",
    "what_is_due",
]
_IN = {
    "RoundAnswer": "outcome",
    "end_paused": "mend",
    "must_stop": "mend",
    "repair": "mend",
    "replace_damaged": "mend",
    "run_round": "run",
    "what_is_due": "run",
}


def __getattr__(name: str) -> Any:
    if name not in _IN:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"{__name__}.{_IN[name]}"), name)
