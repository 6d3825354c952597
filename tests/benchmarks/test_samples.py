"""benchmarks/voice/samples.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.voice import samples
from tests.benchmarks import stub


def test_a_text_stands_in_a_fence_that_it_cannot_close() -> None:
    assert samples.block(samples.Shown("seed 1, from nothing", "a\n```\nb")).startswith(
        "Seed 1, from nothing:\n\n````text\na\n```\nb\n````"
    )
    assert "(empty)" in samples.block(samples.Shown("seed 1", ""))


def test_the_page_shows_every_tag_and_names_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = stub.mirror(tmp_path)
    monkeypatch.setattr(samples, "trained", lambda work, journal, seed: mirror)
    monkeypatch.setattr(samples, "open_engine", stub.engine)
    monkeypatch.setattr(samples, "TOKENS", 16)
    monkeypatch.setattr(samples, "SEEDS", (1,))
    out = tmp_path / "samples.md"
    args = ["--data", str(tmp_path), "--work", str(tmp_path / "work"), "--out", str(out)]
    assert samples.main([*args, "--only", "thoreau"]) == 0
    text = out.read_text(encoding="utf-8")
    assert "### thoreau: #journal" in text and "### thoreau: #poetry" in text
    assert "two questions" in text and "python -m benchmarks.voice.samples" in text
    assert "pebble" in text and text.count("```text") == 5
    assert samples.main([*args, "--only", "thoreau"]) == 0
    assert out.read_text(encoding="utf-8") == text
