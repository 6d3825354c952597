"""Years of writing from other programs: what they export, read into notes of a vault.

Nothing that is there is changed: neither the source nor any note. Knows nothing about terminals.
"""

from vaultgpt.importing.formats import FORMATS, read_source
from vaultgpt.importing.writing import Plan, plan, write

__all__ = ["FORMATS", "Plan", "plan", "read_source", "write"]
