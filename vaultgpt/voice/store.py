"""What was measured of each generation, kept as figures only, one small private file each.

Reused until the held-out pages or the way of writing change; `generations.erase` takes the file
with the generation.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from vaultgpt.files import make_private_dir, read_json, write_json
from vaultgpt.ledger import Ledger
from vaultgpt.state import VaultState
from vaultgpt.wire import Sampling

FORMAT = 3  # files of another one are measured anew


def fingerprint(ledger: Ledger, sampling: Sampling) -> str:
    """Changes with the held-out pages (entries, tags, dates, paragraphs) and with how it writes."""
    paragraphs = ledger.paragraphs()
    rows = sorted(
        [
            e.id,
            e.held_out,
            e.held_digests,
            e.tags,
            e.date,
            [p.digest for p in paragraphs.get(e.id, ())],
        ]
        for e in ledger.entries()
        if e.held_out and e.live
    )
    body = json.dumps([rows, asdict(sampling)])
    return hashlib.blake2b(body.encode(), digest_size=16).hexdigest()


def stored(state: VaultState, generation: str | None, of: str) -> dict[str, Any] | None:
    """The figures of a generation that have this fingerprint; None when there are none."""
    try:
        value = read_json(state.voice / f"{generation}.json")
        if value["format"] != FORMAT or value["of"] != of:
            return None
        return {"generation": generation, "measured": value["measured"], **value["figures"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(
    state: VaultState, generation: str, of: str, figures: dict[str, Any], now: float
) -> None:
    """Store the figures of a generation whose folder is there; of an erased one nothing is kept."""
    if (state.generations / generation).is_dir():
        make_private_dir(state.voice)
        write_json(
            state.voice / f"{generation}.json",
            {"format": FORMAT, "of": of, "measured": now, "figures": figures},
        )
