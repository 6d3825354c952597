"""The ledger of a vault: what is known, learned, held out, forgotten, emitted and active."""

from vaultgpt.ledger.ledger import Ledger
from vaultgpt.ledger.rows import EntryRow, GenerationRow, Learned, Paragraph, Pending, RoundRow

__all__ = [
    "EntryRow",
    "GenerationRow",
    "Learned",
    "Ledger",
    "Paragraph",
    "Pending",
    "RoundRow",
]
