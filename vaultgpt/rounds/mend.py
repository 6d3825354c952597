"""After a crash and after a promotion: folders and ledger brought together, old prose erased.

Knows nothing about training or verdicts.
"""

from __future__ import annotations

import shutil
from typing import Any

from vaultgpt import generations
from vaultgpt.config import Settings
from vaultgpt.errors import GenerationError
from vaultgpt.ledger import GenerationRow, Ledger
from vaultgpt.ledger.history import Learned
from vaultgpt.state import VaultState


def rows_of(name: str, manifest: dict[str, Any]) -> tuple[GenerationRow, list[Learned]]:
    """The ledger's rows for a published generation, from its manifest."""
    learned = [(str(e), str(d), int(w)) for e, d, w in manifest["learned"]]
    settings = manifest.get("settings", {})
    row = GenerationRow(
        id=name, round=int(manifest["round"]), kind=str(manifest.get("kind", "fresh")),
        parent=manifest["parent"], base=str(manifest["base"]),
        base_sha256=dict(manifest["base_sha256"]), created=float(manifest["created"]),
        promoted=bool(manifest["verdict"]["promoted"]), status="kept",
        rank_setting=int(settings.get("rank", 0)),
        embedding_setting=bool(settings.get("embedding", True)),
        words=sum(w for _, _, w in learned))
    return row, learned


def tidy(state: VaultState, ledger: Ledger, settings: Settings) -> None:
    """Erase generations that learned what was forgotten, once another is active, and old ones."""
    active, fresh = ledger.active(), ledger.last_fresh()
    barred = ledger.barred()
    if active is not None and active not in barred:
        for row in ledger.generations():
            if row.id in barred:
                generations.erase(state, row.id)
                ledger.set_status(row.id, "erased")
    spare = {name for name in (active, fresh) if name}
    for name in generations.prune(state, settings.training.keep, spare):
        ledger.set_status(name, "erased")


def repair(state: VaultState, ledger: Ledger, now: float) -> list[str]:
    """Bring folders and ledger together after a crash; what was mended, in sentences.

    A published folder without a row is completed when its manifest says what it learned, else
    erased. A row whose folder is gone or damaged is struck, and the newest valid kept generation of
    its lineage, or else of any, becomes active. Staging folders of closed rounds are erased.
    """
    generations.sweep(state)
    mended = _adopt(state, ledger, now) + _strike(state, ledger, now)
    interrupted = ledger.interrupted()
    keep = f"r{interrupted.number:06d}" if interrupted else ""
    if state.staging.is_dir():
        for folder in state.staging.iterdir():
            if folder.name != keep:
                shutil.rmtree(folder, ignore_errors=True)
    return mended


def _adopt(state: VaultState, ledger: Ledger, now: float) -> list[str]:
    known = {g.id: g for g in ledger.generations(kept=False)}
    mended: list[str] = []
    for name in generations.published(state):
        if name in known and known[name].status == "kept":
            continue
        folder = state.generations / name
        try:
            if name in known:
                raise GenerationError("It was struck before.")
            manifest = generations.verify(folder)
            row, learned = rows_of(name, manifest)
        except (GenerationError, OSError, KeyError, TypeError, ValueError):
            generations.erase(state, name)
            mended.append(f"{name} was incomplete or no longer kept and is erased.")
            continue
        _complete(ledger, row, learned, manifest, now)
        mended.append(f"{name} was published just before a crash; it is entered in the ledger.")
    if mended and ledger.meta("rebuilt"):
        _remember_active(ledger, now)
    return mended


def _complete(ledger: Ledger, row: GenerationRow, learned: list[Learned],
              manifest: dict[str, Any], now: float) -> None:
    """Do the transaction that the crash cut off; after a lost ledger only enter what is there."""
    open_round = ledger.interrupted()
    report = {**manifest["report"], "losses": []}
    verdict = manifest["verdict"]
    closing: dict[str, Any] = {"verdict": verdict["why"], "report": report,
                               "checks": verdict.get("checks", []), "generation": row,
                               "learned": learned, "waited": manifest.get("waited", []),
                               "sampled": bool(manifest.get("sampled"))}
    if open_round is not None and open_round.number == row.round:
        ledger.close_round(row.round, now, promoted=row.promoted, **closing)
        return
    ledger.open_round(row.round, row.kind, "Known from its generation's manifest.", row.created,
                      plan_digest="", sampled=bool(manifest.get("sampled")))
    ledger.close_round(row.round, row.created, promoted=False, **closing)
    ledger.mark_promoted(row.round, row.promoted)


def _remember_active(ledger: Ledger, now: float) -> None:
    """After a lost ledger: the generation memory.jsonl last called active, or the newest usable."""
    if ledger.active() is not None:
        return
    usable = [g.id for g in ledger.generations() if g.promoted and g.id not in ledger.barred()]
    remembered = ledger.meta("remembered_active")
    if remembered in usable:
        ledger.set_active(remembered, now)
    elif usable:
        ledger.set_active(usable[-1], now)


def _strike(state: VaultState, ledger: Ledger, now: float) -> list[str]:
    mended = []
    active = ledger.active()
    for row in ledger.generations():
        present = (state.generations / row.id / generations.MANIFEST).exists()
        if present and (row.id != active or generations.valid(state.generations / row.id)):
            continue
        ledger.set_status(row.id, "missing")
        mended.append(f"{row.id} is damaged or gone.")
    kept = {g.id: g for g in ledger.generations()}
    if active is not None and active not in kept:
        barred = ledger.barred()
        chain = [g.id for g in ledger.lineage(active)]
        order = [n for n in chain if n in kept] + sorted(kept, reverse=True)
        usable = next((n for n in order if kept[n].promoted and n not in barred
                       and generations.valid(state.generations / n)), None)
        ledger.set_active(usable, now)
        mended.append(f"{usable or 'The base'} is active instead of {active}.")
    return mended
