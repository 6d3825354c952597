"""`vaultgpt status`: what it knows and what is next."""

from __future__ import annotations

import time
from typing import Any

from vaultgpt.commands.common import (
    JsonOption,
    VaultArgument,
    VaultOption,
    command,
    locate,
    out,
    print_json,
)
from vaultgpt.overview import overview


@command
def status(
    vault_argument: VaultArgument = None, vault: VaultOption = None, as_json: JsonOption = False
) -> None:
    """Say what is known of the vault, what writes now, and when it learns next."""
    answer = overview(locate(vault or vault_argument))
    if as_json:
        print_json(answer)
        return
    for line in _lines(answer):
        out.print(line, markup=False)


def _lines(s: dict[str, Any]) -> list[str]:
    running = "running" if s.get("daemon") else "not running (`vaultgpt serve` starts it)"
    lines = [
        f"{s['notes']:,} notes, {s['words']:,} words; {s['pending_notes']:,} notes are new.",
        f"Writes as {s['active'] or 'the bare base'} on {s['base']}.",
        f"The daemon is {running}.",
    ]
    if s["training"]:
        lines.append(f"Learning: {100 * (s['training'].get('fraction') or 0):.0f} %.")
    nxt = s["next_training"] or {}
    when = nxt.get("when")
    if when:
        lines.append(f"Next: {time.strftime('%a %H:%M', time.localtime(when))}. {nxt['why']}")
    elif nxt.get("why"):
        lines.append(str(nxt["why"]))
    if s["last_verdict"]:
        lines.append(f"Last round: {s['last_verdict']['why']}")
    if s.get("paused"):
        lines.append(f"Learning is paused: {s['paused']}")
    lines += [f"Problem: {p}" for p in s.get("problems") or []]
    return lines
