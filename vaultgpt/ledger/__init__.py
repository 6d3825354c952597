"""The ledger of a vault: what is known, learned, held out, forgotten, emitted and active."""

from vaultgpt.ledger.rows import EntryRow, GenerationRow, Pending, RoundRow
from vaultgpt.ledger.store import Ledger

__all__ = ["EntryRow", "GenerationRow", "Ledger", "Pending", "RoundRow"]
