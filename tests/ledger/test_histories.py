"""Random histories of a vault: whatever happened between scans, the ledger is as a fresh scan's."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ledger.vaults import NOW, Vault, prose
from vaultgpt.ledger import Ledger

_NAMES = [f"{folder}{name}.md" for folder in ("", "old/", "Journal/") for name in "abc"]
_PLACES = st.sampled_from(_NAMES)
_TEXTS = st.lists(st.integers(0, 9), min_size=1, max_size=3)
_TAGS = st.sampled_from(["dream", "journal", "private"])
_DAYS = "## 2021-07-01\n{}\n\n## 2021-07-02\n{}\n"
_STEPS = st.one_of(
    st.tuples(st.just("write"), _PLACES, _TAGS, _TEXTS),
    st.tuples(st.just("days"), _PLACES, _TAGS, _TEXTS),
    st.tuples(st.just("add"), _PLACES, st.integers(0, 9)),
    st.tuples(st.just("delete"), _PLACES),
    st.tuples(st.just("move"), _PLACES, _PLACES),
    st.tuples(st.just("away"), st.sampled_from(["old", "Journal"])),
    st.tuples(st.just("scan")),
    st.tuples(st.just("restart")),
)


def _do(vault: Vault, step: tuple[Any, ...], now: float) -> None:
    what, *rest = step
    place = vault.root / rest[0]
    if what in ("write", "days"):
        texts = [prose(n, 12) for n in rest[2]]
        body = "\n\n".join(texts) + "\n"
        body = _DAYS.format(texts[0], body) if what == "days" else body
        vault.write(rest[0], f"---\ntags: [{rest[1]}]\n---\n{body}", now=now)
    elif what == "add" and place.exists():
        vault.write(rest[0], place.read_text() + f"\n{prose(rest[1], 12)}\n", now=now)
    elif what == "delete" and place.exists():
        place.unlink()
    elif what == "move" and place.exists():
        vault.move(*rest)
    elif what == "away" and place.is_dir():
        shutil.rmtree(place)


def _told(ledger: Ledger) -> list[Any]:
    paragraphs = ledger.entries.paragraphs()
    rows = [
        (e.path, e.place, e.date, e.tags, e.words, [p.digest for p in paragraphs.get(e.id, ())])
        for e in ledger.entries.all()
        if e.live
    ]
    return [sorted(rows, key=repr), ledger.notes.totals(), sorted(ledger.notes.stamps().items())]


@pytest.mark.parametrize("steps", [_STEPS])
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_a_ledger_after_any_history_is_as_one_that_reads_the_vault_anew(
    steps: Any, data: st.DataObject
) -> None:
    """1. Notes are written, changed, moved and deleted, folders vanish, the vault is scanned in
    between, the process restarts. 2. A last scan. Result: entries, paragraphs, counts and stamps
    are those of a state that sees the vault for the first time.
    """
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAULTGPT_HOME", f"{place}/home")
        vault, now = Vault(Path(place)), NOW
        vault.write("always.md", prose("always", 30) + "\n")
        ledger = Ledger.open(vault.state)
        for step in data.draw(st.lists(steps, min_size=8, max_size=25)):
            now += 60
            if step[0] == "scan":
                vault.record(ledger, now)
            elif step[0] == "restart":
                ledger.close()
                ledger = Ledger.open(vault.state)
            else:
                _do(vault, step, now)
        vault.record(ledger, now + 60)
        after = _told(ledger)
        ledger.close()
        for path in vault.state.folder.glob("*.sqlite3*"):
            path.unlink()
        vault.state.memory.unlink(missing_ok=True)
        with Ledger.open(vault.state) as fresh:
            vault.record(fresh, now + 60)
            assert _told(fresh) == after
