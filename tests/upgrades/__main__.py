"""`python -m tests.upgrades` writes the state that this version leaves, and its vault: VERSION.zip.

Once before each release. The words are invented, the trainer is the one that learns nothing, and
expected.json says what must still be known of it.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import vaultgpt
from tests.ledger.vaults import DAY, NOW, Vault, body
from tests.rounds.fakes import train
from vaultgpt.ledger import Ledger
from vaultgpt.settings import save_option
from vaultgpt.tasks.forget import FORGET, ForgetRequest
from vaultgpt.tasks.vault_service import Desk

FOLDER = Path(__file__).parent
_LEFT_OUT = (".lock", "-wal", "-shm", "ballast")


def known(ledger: Ledger) -> dict[str, Any]:
    """What a ledger knows that the vault can't tell."""
    generations, rows = ledger.generations, ledger.entries.all()
    return {
        "active": generations.active(),
        "generations": [(g.id, g.kind, g.promoted, g.status, g.words) for g in generations.all()],
        "rounds": [(r.number, r.kind, r.promoted, r.verdict) for r in ledger.rounds.all()],
        "held_out": sorted(row.id for row in rows if row.held_out),
        "forgotten": sorted(row.id for row in rows if row.forgotten),
        "tags": dict(ledger.entries.census()[0]),
        "pending": sorted(ledger.pending(NOW + 9 * DAY).entries),
    }


def make(root: Path) -> None:
    """A vault, two rounds over it, a refused one, a forgotten note and new text, under `root`."""
    os.environ["VAULTGPT_HOME"] = str(root / "home")
    vault = Vault(root)
    save_option(vault.state.config, "mirror.temperature", 0.8)
    save_option(vault.state.config, "rules.exclude", ["Old/*"])
    vault.fill(26, paragraphs=2, words=48)
    assert train(vault)["verdict"]["promoted"]
    vault.write("new.md", body("new", 3), now=NOW + DAY)
    assert train(vault, NOW + 2 * DAY)["verdict"]["promoted"]
    with Ledger.open(vault.state) as ledger:
        desk = Desk(vault.state, vault.settings, ledger, NOW + 2.5 * DAY)
        assert FORGET.work is not None
        FORGET.work(desk, ForgetRequest(path="note003.md"))
    assert not train(vault, NOW + 3 * DAY, after=1.4)["verdict"]["promoted"]
    vault.write("newer.md", body("newer", 2), now=NOW + 4 * DAY)
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger, NOW + 5 * DAY)
        ledger.emitted.accepted(body("emitted", 1), NOW + 5 * DAY)
        found = known(ledger)
    (root / "expected.json").write_text(json.dumps(found, indent=1))
    vault.state.folder.rename(root / "state")


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        make(Path(place))
        paths = [p for p in sorted(Path(place).rglob("*")) if p.is_file()]
        target = FOLDER / f"{vaultgpt.__version__}.zip"
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
            for path in paths:
                name = path.relative_to(place).as_posix()
                if not name.startswith("home/") and not name.endswith(_LEFT_OUT):
                    file.write(path, name)
        print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
