"""The ledger of a vault: what is known, learned, held out, forgotten, emitted and active."""

from vaultgpt.ledger.ledger import Ledger
from vaultgpt.ledger.rows import (
    EntryRow,
    GenerationRow,
    LearnedParagraph,
    Paragraph,
    Pending,
    RoundRow,
)

__all__ = [
    "EntryRow",
    "GenerationRow",
    "LearnedParagraph",
    "Ledger",
    "Paragraph",
    "Pending",
    "RoundRow",
]
