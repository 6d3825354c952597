"""benchmarks/voice/author.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.voice import author
from tests.benchmarks import stub


def told(share: float | None, low: float = 0.0, high: float = 0.0) -> dict[str, Any]:
    return {"pieces": 10, "share": share, "low": low, "high": high, "as": {}}


def figures(mirror: dict[str, Any], base: dict[str, Any]) -> dict[str, object]:
    return {
        "real_held_out": 0.95,
        "prompts": 25,
        "delta": {"page_words": None},
        "attributed": {
            "mirror_after": mirror,
            "base_after": base,
            "mirror_empty": mirror,
            "base_empty": base,
        },
    }


def test_the_mirror_must_lie_clear_of_the_base() -> None:
    clear = figures(told(0.8, 0.7, 0.9), told(0.3, 0.2, 0.4))
    near = figures(told(0.4, 0.3, 0.5), told(0.3, 0.2, 0.4))
    rows = [stub.row("thoreau/1", clear), stub.row("hawthorne/1", near)]
    rows.append(stub.row("mary-maclane/1", figures(told(None), told(0.3, 0.2, 0.4))))
    summed = author.summary(rows)
    assert [one["met"] for one in summed["attributed_to_the_author"].values()] == [
        True,
        False,
        None,
    ]
    assert "too little text" in author.table(rows, summed)


def test_a_row_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    mirror = stub.mirror(tmp_path)
    for number, name in enumerate(author.AUTHORS[1:], 1):
        stub.journal(tmp_path, name, seed=number)
    monkeypatch.setattr(author, "trained", lambda work, journal, seed: mirror)
    monkeypatch.setattr(author, "open_engine", stub.engine)
    small = {"PROMPTS": 2, "EACH": 2, "EMPTY": 2, "TOKENS": 70, "PAGES": 2, "PAGE_TOKENS": 60}
    for name, value in small.items():
        monkeypatch.setattr(author, name, value)
    author._classifier.cache_clear()
    cases = author.cases(stub.options(tmp_path))
    assert [c.key for c in cases] == [f"{name}/1" for name in author.MIRRORS]
    found = cases[0].run()
    assert 0 <= found["real_held_out"] <= 1 and found["delta"]["page_words"] is None
    assert found["attributed"]["mirror_after"]["pieces"] >= 1
    author.table([stub.row("thoreau/1", found)], {})
    author._classifier.cache_clear()
