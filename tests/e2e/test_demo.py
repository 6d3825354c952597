"""The whole job for real, as `make demo` runs it: embedded base, daemon, most of the vault."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DEMO = """import sys; from pathlib import Path; from vaultgpt.__main__ import main
from vaultgpt.commands import demo; place = Path(sys.argv.pop(1)); demo._examples = lambda: place
main()"""


def test_the_demo_learns_writes_notices_and_learns_again(tiny_llama: Path, tmp_path: Path) -> None:
    """1. All of it on the embedded base, without two years of the journal: the whole takes twice as
    long. 2. The same vault on another. Result: texts of both.
    """
    examples = tmp_path / "examples"
    shutil.copytree(ROOT / "examples", examples)
    for year in ("2021", "2023"):
        shutil.rmtree(examples / "vault" / "Journal" / year)
    paths = {"VAULTGPT_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", DEMO, examples, "demo", "--json", "--then", tiny_llama],
        env={**os.environ, "PATH": os.defpath, **paths},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=420,
        check=False,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    answer = json.loads(done.stdout)
    first, *_, last = answer["rounds"]
    assert first["kind"] == "fresh" and last["kind"] == "incremental"
    assert first["verdict"]["promoted"], first["verdict"]
    bits = first["report"]["bits_per_byte"]
    assert bits["held_out"] < 0.97 * bits["held_out_base"]  # a gain that is plain to see
    assert all(r["verdict"]["why"] for r in answer["rounds"])
    assert [c["tags"] for c in answer["continuations"][:3]] == [["journal"], ["dream"], ["poetry"]]
    for continuation in answer["continuations"]:
        assert continuation["text"].strip()
        assert continuation["generation"].startswith("g0")
        for canary in ("Ottoline", "Marsh", "417"):
            assert canary not in continuation["text"]
    assert math.isfinite(answer["seconds"])
    then = answer["then"]
    assert then["base"] == str(tiny_llama) and then["round"]["kind"] == "fresh"
    pairs = zip(answer["continuations"], then["continuations"], strict=False)
    assert [(a["tags"], a["prompt"]) for a, _ in pairs] == [
        (b["tags"], b["prompt"]) for b in then["continuations"]
    ]
    assert all(text["text"].strip() for text in then["continuations"])
    assert f"{Path(sys.executable).parent} is not on your PATH" in done.stderr
    assert "Side by side" in done.stderr and "#journal · pebble" in done.stderr
    assert math.isfinite(then["seconds"])
    print(f"demo: {answer['seconds']:.0f} s")


def test_a_second_half_that_cannot_be_had_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """1. No such base. 2. Ctrl-C while it is fetched. Result: a sentence each; the first stands."""
    from vaultgpt.commands import demo

    show = demo._Show(as_json=False)
    assert demo._or_left_out(show, tmp_path, str(tmp_path / "none"), 1, []) is None
    assert "The second half is left out. There is no folder" in capsys.readouterr().out

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "fetch_base", interrupt)
    assert demo._or_left_out(show, tmp_path, "smollm2", 1, []) is None
    assert "Left out, as you wish." in capsys.readouterr().out
