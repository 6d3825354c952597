"""What a mirror worker must know, gathered from ledger, generations and bases.

Knows nothing about processes.
"""

from __future__ import annotations

from vaultgpt import bases
from vaultgpt.config import Settings
from vaultgpt.generations import verify
from vaultgpt.ledger import Ledger
from vaultgpt.state import VaultState
from vaultgpt.workers.mirror import Opening


def mirror_opening(state: VaultState, settings: Settings, ledger: Ledger) -> Opening:
    """The active generation, the base it was trained on, and what else writes on that base.

    Without an active generation the vault's base writes. The active one's files are verified.
    BaseModelError, GenerationError. Blocks: reads and hashes files.
    """
    active = ledger.active()
    if active is None:
        base = bases.resolve(settings.base, state)
    else:
        base = bases.base_of_generation(state, verify(state.generations / active))
    barred = ledger.barred()
    folders = {
        row.id: state.generations / row.id for row in ledger.generations()
        if row.id not in barred and _same(row.base_sha256, base.sha256)
        and (state.generations / row.id).is_dir()
    }
    return Opening(base.folder, active, folders, settings.mirror, state.runs, state.secret())


def _same(wanted: dict[str, str], have: dict[str, str]) -> bool:
    return bool(wanted) and all(have.get(name) == digest for name, digest in wanted.items())
